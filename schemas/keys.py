"""Keys, order and chance: every draw of the pipeline is a hash, never a random number."""

from hashlib import blake2b

KEY_HEX_DIGITS = 32


def sample_key(source: str, locator: str) -> str:
    """Name a sample before its bytes are known: 32 hex digits of blake2b-128.

    Args:
        source: the source's name in the recipe.
        locator: the URL, or the path inside the source, exactly as listed.
    """
    return blake2b(f"{source}\n{locator}".encode(), digest_size=16).hexdigest()


def unit(key: str, salt: str) -> float:
    """Draw a number in [0, 1) that only `key` and `salt` decide.

    53 bits are drawn, as many as a float64 holds: 64 bits would round up to 1.0 now and then.
    """
    digest = blake2b(f"{salt}\n{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def rank(key: str, salt: str) -> str:
    """Return a key's place in an order that only `salt` decides: 32 hex digits that sort."""
    return blake2b(f"{salt}\n{key}".encode(), digest_size=16).hexdigest()


def draw(key: str, salt: str, n: int) -> int:
    """Draw an integer in [0, n) that only `key` and `salt` decide.

    Raises:
        ValueError: if `n` is not positive.
    """
    if n <= 0:
        raise ValueError(f"cannot draw from {n} values")
    return int(unit(key, salt) * n)


def output_shard(key: str, shards: int) -> int:
    """Assign a sample to one of `shards` output shards."""
    return draw(key, "output shard", shards)


def shard_name(number: int) -> str:
    """Name a side-car shard: five digits, as img2dataset does, more where needed."""
    return f"{number:05d}"
