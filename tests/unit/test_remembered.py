from __future__ import annotations

from headrace.control.remembered import Remembered


def test_an_answer_is_asked_again_when_it_is_too_old() -> None:
    now, asked = [0.0], []

    def ask() -> str:
        asked.append(now[0])
        return "yes"

    remembered: Remembered[str, str] = Remembered(for_s=1, monotonic=lambda: now[0])
    assert remembered.known("a") is None
    for moment in (0.0, 0.9, 1.0):
        now[0] = moment
        assert remembered.get("a", ask) == "yes"
    assert asked == [0.0, 1.0]


def test_what_is_not_there_is_asked_for_each_time() -> None:
    answers = iter([None, "there"])
    remembered: Remembered[str, str] = Remembered()
    assert remembered.get("a", lambda: next(answers)) is None
    assert remembered.get("a", lambda: next(answers)) == "there"


def test_an_answer_from_before_forget_is_not_given_after_it_though_it_comes_later() -> None:
    remembered: Remembered[str, str] = Remembered()

    def revoked_meanwhile() -> str:
        remembered.forget()
        return "still good"

    assert remembered.get("a", revoked_meanwhile) == "still good"
    assert remembered.known("a") is None


def test_no_more_than_most_are_kept() -> None:
    remembered: Remembered[int, int] = Remembered(most=10)
    for number in range(100):
        remembered.get(number, lambda: 1)
    assert len(remembered._kept) <= 10
    assert remembered.known(99) == 1
