#!/bin/sh
# Prints the first Python, 3.11 or later, that can make a virtual environment. Exit 1 if there is none.
for name in python3.11 python3.12 python3.13 python3 python; do
    path=$(command -v "$name" 2>/dev/null) || continue
    if "$path" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$path"
        exit 0
    fi
done
echo "No Python 3.11 or later with its venv module was found. Install python3.11 and python3.11-venv (or later) and try again." >&2
exit 1
