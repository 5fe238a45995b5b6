"""Dates and clock times as they are written, in ISO 8601: against the standard library's own formatting."""

import datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orchestai_jax.planner.arguments.written_dates import find_dates, find_times

DAYS = st.dates(datetime.date(1500, 1, 1), datetime.date(2199, 12, 31))
FORMS = ("{d:%B} {d.day}, {d:%Y}", "{d.day} {d:%B} {d:%Y}", "{d:%b} {d.day} {d:%Y}", "{d:%Y-%m-%d}", "{d:%m/%d/%Y}")


@given(DAYS, st.sampled_from(FORMS))
def test_a_date_written_in_any_form_is_read_as_that_day(day, form):
    written = form.format(d=day)
    text = f"from {written} until then"
    assert find_dates(text) == [(5, 5 + len(written), day.isoformat())]


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("on the 20th of May 2022.", "2022-05-20"),
        ("due 31/12/2020", "2020-12-31"),
        ("in March 2020", "2020-03"),
        ("October 5th", None),
        ("February 30, 2020", None),
    ],
)
def test_other_spellings_and_what_is_no_day(text, iso):
    assert [found[2] for found in find_dates(text)] == [iso]


@pytest.mark.parametrize("text", ["version 1.2.3", "call 2020-12-345", "maybe", "10/12", "marching 2020"])
def test_what_is_no_date(text):
    assert find_dates(text) == []


@given(st.times())
def test_a_clock_time_of_twelve_or_twenty_four_hours(time):
    twelve = f"{time:%I}".lstrip("0") + f":{time:%M} {time:%p}"
    assert [found[2] for found in find_times(f"at {twelve} sharp")] == [f"{time:%H:%M}"]
    assert [found[2] for found in find_times(f"at {time:%H:%M} sharp")] == [f"{time:%H:%M}"]


def test_hours_alone_and_impossible_ones():
    assert [found[2] for found in find_times("from 9 a.m. to 5pm")] == ["09:00", "17:00"]
    assert find_times("ratio 15:99, 13 pm") == []
