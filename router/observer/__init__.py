"""The observer: the cold path. Receives copies of live exchanges, replays them to shadows, compares, counts, records.

It may be slow, wrong or dead without a live request noticing: workers write to it without waiting, and everything
it holds is bounded. `python -m router.observer --run DIR` starts it in a run directory (`router.core.channel`).
"""
