from pipelines.report.page.examples import Found, Request, find_examples

KEYS = {name: name * 32 for name in "abcd"}


def test_a_representative_is_found_in_its_own_shard_also_if_a_cap_dropped_it(desk):
    """b is a duplicate of a, which the quota drops; c, listed twice, stands for d."""
    listed = {0: "abc", 1: "cd"}
    verdicts = {
        (0, "a"): ("a", "quota"),
        (0, "b"): ("a", "same_bytes"),
        (0, "c"): ("c", ""),
        (1, "c"): ("c", "repeated_url"),
        (1, "d"): ("c", "near_duplicate"),
    }
    for shard, names in listed.items():
        rows = [{"key": KEYS[name], "source": "web", "url": f"{shard}{name}"} for name in names]
        for folder in ("sources", "raw", "signals", "scores", "captions", "pairs"):
            desk.put(folder, shard, rows if folder in ("sources", "signals", "scores") else [])
        judged = [(name, *verdicts[shard, name]) for name in names]
        desk.put(
            "duplicates",
            shard,
            [{"key": KEYS[n], "kept_key": KEYS[kept], "reason": why} for n, kept, why in judged],
        )
    wanted = {0: frozenset({KEYS["b"]}), 1: frozenset({KEYS["d"]})}
    representatives = frozenset({KEYS["a"], KEYS["c"]})
    found = Found(
        [
            example
            for shard in listed
            for example in find_examples(Request(shard, wanted[shard], representatives), desk.store)
        ]
    )
    urls = [found.representative(KEYS[name]) for name in "ac"]
    assert [example and example.url for example in urls] == ["0a", "0c"]
    assert found.representative(KEYS["b"]) is None
