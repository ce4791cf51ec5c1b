"""Which mammograms are of one patient, by the names that public sets give them."""

import pytest

from napari_breastseg.io.views import patient_in


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("Mass-Training_P_00001_LEFT_CC", "P_00001"),  # CBIS-DDSM
        ("Calc-Test_P_00001_RIGHT_MLO_1", "P_00001"),
        ("20586908_6c613a14b80a8591_MG_R_CC_ANON", "6c613a14b80a8591"),  # INbreast
        ("20586934_6c613a14b80a8591_MG_L_ML_ANON", "6c613a14b80a8591"),
        ("A_1141_1.LEFT_CC", "A_1141_1"),  # DDSM
        ("P1_L_CM_MLO", "P1"),  # CDD-CESM
        ("P1_R_DM_CC", "P1"),
        ("P1_LCC2", "P1"),
        ("P1_RMLO_12", "P1"),
        ("P1-LeftCC", "P1"),
        ("case7-lmlo", "case7"),
        ("RCC patient 12", "patient_12"),
        ("left_cc_patient_12", "patient_12"),
        ("mammo_L_CC_0012", "mammo_0012"),
        ("mammo_R_MLO_12", "mammo_12"),
        ("MG_LCC_p12", "p12"),
        ("2021_study_L_CC_p12", "2021_study_p12"),
        ("study L 12 CC", "study_12"),
        ("Hospital-A_screening-2021_patient-000123_L_CC", "Hospital_A_screening_2021_patient_000123"),
    ],
)
def test_the_patient_is_what_the_name_says_beside_side_and_view(name: str, patient: str) -> None:
    assert patient_in(name) == patient


@pytest.mark.parametrize("name", ["benign (12)", "patient_L", "Duke_153", "site_CC_001", "breast_ML_017_t1", "LEFT_CC", "L_MLOps_3"])
def test_other_names_say_no_patient(name: str) -> None:
    assert patient_in(name) is None
