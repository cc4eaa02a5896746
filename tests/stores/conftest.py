"""Both object stores, really running, and the small corpus built into a bucket of each."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import fsspec
import pytest
from corpus import Corpus
from faulty_proxy import FaultyProxy, faulty_proxy
from object_stores import STORES, ObjectStore

from schemas.store.storage import Storage

# Slow tests are run with one kind; `make test-chaos` has those of the others.
KINDS = [pytest.param(kind, marks=[pytest.mark.chaos] * (kind != "gs")) for kind in STORES]


@pytest.fixture(scope="session", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """A running store that this process and those it starts find."""
    with STORES[request.param]() as store, found_by_fsspec(store):
        yield store


@pytest.fixture
def proxy(store: ObjectStore) -> Iterator[FaultyProxy]:
    """A proxy before the store, which fails nothing until told to; fsspec goes through it."""
    with faulty_proxy(store.address) as proxy, found_by_fsspec(store.behind(proxy.address)):
        yield proxy


@contextmanager
def found_by_fsspec(store: ObjectStore) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, store.protocol, store.fs_options)
        for name, value in store.environment.items():
            patch.setitem(os.environ, name, value)
        yield


@pytest.fixture
def bucket(store: ObjectStore) -> Storage:
    """A corpus' place in an empty bucket of its own."""
    return Storage(f"{store.make_bucket('test')}/a/corpus")


@pytest.fixture(scope="session")
def in_bucket(store: ObjectStore, make_corpus: Callable[..., Corpus]) -> Corpus:
    """The small corpus, built straight into a bucket by the command line; not to be changed."""
    corpus = make_corpus(out=f"{store.make_bucket('built')}/a/corpus")
    corpus.build()
    return corpus
