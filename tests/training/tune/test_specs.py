import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import WrongUse
from training.tune.specs import Choices, Range, Spec, number_text, parse_spec

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(st.characters(codec="ascii", exclude_characters="|", categories=["L", "N", "P"]), min_size=1)


def _range(ends: tuple[float, float], log: bool) -> Range:
    low, high = sorted(ends)
    return Range(low, high, log and low > 0)


RANGES = st.builds(_range, st.tuples(NUMBERS, NUMBERS).filter(lambda ends: ends[0] != ends[1]), st.booleans())
CHOICES = st.builds(Choices, st.lists(WORDS, min_size=2, unique=True).map(tuple))


@given(st.one_of(RANGES, CHOICES))
def test_a_spec_is_read_as_it_is_written(spec: Spec) -> None:
    assert parse_spec(str(spec)) == spec


@given(NUMBERS)
def test_a_number_keeps_its_value_as_text(value: float) -> None:
    assert float(number_text(value)) == value
    assert ("." not in number_text(value)) or not value.is_integer() or abs(value) >= 1e15


@given(st.text())
def test_any_other_text_is_a_wrong_use(text: str) -> None:
    try:
        spec = parse_spec(text)
    except WrongUse as error:
        said = str(error)
    else:
        assert parse_spec(str(spec)) == spec
        return
    assert said.startswith(repr(text))


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1e-3..1e-2:log", Range(0.001, 0.01, log=True)),
        ("0.1..0.5", Range(0.1, 0.5)),
        ("-1 .. 64", Range(-1, 64)),
        ("64|100 | 128", Choices(("64", "100", "128"))),
        ("none|0..7", Choices(("none", "0..7"))),
    ],
)
def test_specs_that_people_write(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64", "'64' has nothing to choose from: write a range such as .*; --set gives a single value"),
        ("", "'' has nothing to choose from"),
        ("1..2:lin", "has the scale 'lin': the only one is log"),
        ("2..1", r"begins at 2 and ends at 1: the lower end comes first"),
        ("1..1", "the lower end comes first"),
        ("0..1:log", "begins at 0, which has no logarithm"),
        ("a..2", "has the end 'a', which is no number"),
        ("1..inf", "has the end 'inf', which is no number"),
        ("1..", "has the end '', which is no number"),
        ("64||128", "has an empty choice"),
        ("64|128|64", "has '64' twice"),
    ],
)
def test_what_is_no_spec_is_a_sentence(text: str, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        parse_spec(text)
