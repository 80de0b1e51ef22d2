"""The ladder of settings gets more careful from rung to rung."""

from engine.safe_settings import LADDER, NOTICES, LoadSettings, SafeMode


def test_each_rung_switches_off_more_than_the_one_before() -> None:
    def fast_switches(settings: LoadSettings) -> int:
        return sum(
            [
                settings.use_extra_bufts,
                settings.flash_attention,
                settings.use_mmap,
                not settings.one_thread,
            ]
        )

    counts = [fast_switches(settings) for settings in LADDER.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 4
    assert counts[-1] == 0
    assert list(LADDER) == list(SafeMode)


def test_only_full_speed_needs_no_word_to_the_user() -> None:
    assert {mode for mode in SafeMode if NOTICES[mode] is None} == {SafeMode.FULL_SPEED}
