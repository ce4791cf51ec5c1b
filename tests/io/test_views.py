"""Which mammograms are of one patient, by the names that public sets give them."""

import pytest

from napari_breastseg.io.views import patient_in


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("Mass-Training_P_00001_LEFT_CC", "Mass-Training_P_00001"),  # CBIS-DDSM
        ("Mass-Training_P_00001_RIGHT_MLO_1", "Mass-Training_P_00001"),
        ("A_1141_1.LEFT_CC", "A_1141_1"),  # DDSM
        ("P1_L_CM_MLO", "P1"),  # CDD-CESM
        ("P1_R_DM_CC", "P1"),
        ("case7-lmlo", "case7"),
        ("RCC patient 12", "patient 12"),
        ("left_cc_patient_12", "patient_12"),
    ],
)
def test_the_patient_is_what_the_name_says_beside_side_and_view(name: str, patient: str) -> None:
    assert patient_in(name) == patient


@pytest.mark.parametrize("name", ["benign (12)", "patient_L", "Duke_153", "success", "MLOps_run", "LEFT_CC", "case_mlo2"])
def test_other_names_say_no_patient(name: str) -> None:
    assert patient_in(name) is None
