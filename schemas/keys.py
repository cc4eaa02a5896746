"""Keys, order and draws: the pipeline draws with hashes, never with random numbers."""

from hashlib import blake2b

KEY_HEX_DIGITS = 32


def sample_key(source: str, locator: str) -> str:
    """Return the key of a sample whose bytes are not known yet: 32 hex digits of blake2b-128.

    Args:
        source: the source's name in the recipe.
        locator: the URL, or the path inside the source, exactly as listed.
    """
    return blake2b(f"{source}\n{locator}".encode(), digest_size=16).hexdigest()


def unit(key: str, salt: str) -> float:
    """Draw a number in [0, 1) that depends on `key` and `salt` alone.

    It has 53 bits, as a float64: 64 bits would sometimes round up to 1.0.
    """
    digest = blake2b(f"{salt}\n{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def rank(key: str, salt: str) -> str:
    """Return a key's sort value in an order that depends on `salt` alone: 32 hex digits."""
    return blake2b(f"{salt}\n{key}".encode(), digest_size=16).hexdigest()


def draw(key: str, salt: str, n: int) -> int:
    """Draw an integer in [0, n) that depends on `key` and `salt` alone.

    Raises:
        ValueError: `n` is not positive.
    """
    if n <= 0:
        raise ValueError(f"cannot draw from {n} values")
    return int(unit(key, salt) * n)


def output_shard(key: str, shards: int, shuffle: str = "") -> int:
    """Return the number of a sample's output shard, of `shards`; `shuffle` names another draw."""
    return draw(key, f"output shard {shuffle}" if shuffle else "output shard", shards)


def shard_name(number: int) -> str:
    """Return the name of a side-car shard: five digits, as in img2dataset, or more if needed."""
    return f"{number:05d}"
