"""The rows that go wrong the way the web does, each from a real clip, each wrong in one way.

`expect` names the outcome that a row must have in a build: `kept`, `dropped:REASON` or
`failed:ERROR`. What a server does wrong is in `serve.py`, what is
wrong with a file in `spoil.py`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import spoil
from clips import Clip, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFile:
    """One image of the corpus: where it goes, what is in it, where it came from."""

    name: str  # relative to the corpus folder
    clip: Clip
    derived: str  # what was done to the clip, "" where its bytes are untouched
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wild:
    """One row that goes wrong, or that looks as if it would."""

    expect: str
    clip: str  # the clip its words, and its pixels if any, come from
    url: str = ""  # "" leaves the field out of the row
    file: str = ""  # where the image made for it goes, "" for none
    make: Callable[[bytes], bytes] = bytes  # from the clip's PNG to the file; `bytes` copies
    derived: str = ""
    words: Row = field(default_factory=dict)  # what the row says instead of the clip's own words
    bundled: bool = False  # whether the clip is to be one of the bundled set


def wild_rows(clips: Mapping[str, Clip]) -> Iterator[Row]:
    """Yield one row of the URL list for each way to go wrong."""
    for wild in WILD:
        url: Row = {"url": wild.url} if wild.url else {}
        yield url | clips[wild.clip].row() | wild.words | {"expect": wild.expect}


def wild_files(clips: Mapping[str, Clip]) -> Iterator[CorpusFile]:
    """Yield the images made for the rows that need one."""
    for wild in WILD:
        if wild.file:
            clip = clips[wild.clip]
            body = wild.make(clip.file.read_bytes())
            yield CorpusFile(name=wild.file, clip=clip, derived=wild.derived, body=body)


def check_sources(clips: Mapping[str, Clip], bundled: Collection[str]) -> None:
    """Check that every source is in the public domain and in the bundled set only if meant to be.

    Raises:
        ValueError: a source is not what the table says.
    """
    for wild in WILD:
        if not clips[wild.clip].is_public_domain:
            raise ValueError(f"expected a clip in the public domain, found {wild.clip}")
        if (wild.clip in bundled) != wild.bundled:
            raise ValueError(f"expected bundled={wild.bundled} of {wild.clip}")


WILD = (
    Wild(
        expect="failed:http_404",
        url="wild/gone.png",
        clip="office/addressed_envelope_with_stamp_01.png",
    ),
    Wild(
        expect="failed:http_500",
        url="wild/always_500.png",
        clip="signs_and_symbols/flags/the_official_flag_of_i_r.png",
    ),
    Wild(
        expect="failed:timeout",
        url="wild/drips.png",
        clip="transportation/boating/knot_figure_eight.png",
    ),
    Wild(
        expect="failed:too_large",
        url="wild/endless.png",
        clip="food/apple_with_worm_dan_gerh_01.png",
    ),
    Wild(
        expect="failed:not_an_image",
        url="wild/html_as_png.png",
        clip="recreation/religion/discordian_sacred_chao_01r.png",
    ),
    Wild(
        expect="failed:truncated_image",
        url="wild/truncated.png",
        file="wild/truncated.png",
        clip="geography/northern_hemisphere_glo_.png",
        make=spoil.first_half,
        derived="cut in the middle of the file",
    ),
    Wild(
        expect="failed:too_many_pixels",
        url="wild/bomb.png",
        file="wild/bomb.png",
        clip="signs_and_symbols/flag_of_brazil_rodrigo_t1.png",
        make=spoil.decompression_bomb,
        derived="header changed to declare 30000 x 30000 px",
    ),
    Wild(
        expect="failed:missing_url",
        clip="food/vegetables/habanero_pepper_1_simpl_01.png",
    ),
    Wild(
        expect="failed:bad_url",
        url="http://[::1",
        clip="office/telephone/ip_phone_michael_hart_r.png",
    ),
    Wild(
        expect="failed:bad_url",
        url="file:///etc/passwd",
        clip="computer/hardware/joystick_atari_style_da_r.png",
    ),
    Wild(
        expect="kept",
        url="wild/moved.png",
        file="wild/moved_here.png",
        clip="food/fruit/apple_core_01.png",
    ),
    Wild(
        expect="kept",
        url="wild/busy_once.png",
        file="wild/busy_once.png",
        clip="geography/arkansas_symbol_ganson.png",
    ),
    Wild(
        expect="kept",
        url="wild/turned.jpg",
        file="wild/turned.jpg",
        clip="recreation/holiday/footprints_in_sand_ganson.png",
        make=spoil.turned_jpeg,
        derived="JPEG turned by 90 degrees, with the EXIF orientation that undoes it",
    ),
    Wild(
        expect="kept",
        url="wild/cmyk.jpg",
        file="wild/cmyk.jpg",
        clip="recreation/music/trumpet_pocket_colour_ganso.png",
        make=spoil.cmyk_jpeg,
        derived="flattened on white, CMYK JPEG",
    ),
    Wild(
        expect="kept",
        url="wild/grey16.png",
        file="wild/grey16.png",
        clip="animals/mammals/dogs/black_lab_ganson.png",
        make=spoil.grey_16_bit_png,
        derived="flattened on white, PNG of 16-bit grey",
    ),
    Wild(
        expect="dropped:robots_noai",
        url="wild/no_ai.png",
        file="wild/no_ai.png",
        clip="animals/mammals/crazy_monkey_shandy_brow_01.png",
    ),
    Wild(
        expect="dropped:repeated_url",
        url="openclipart/tools/toys/unit_blocks_lion_kimbro_01.png",
        clip="tools/toys/unit_blocks_lion_kimbro_01.png",
        bundled=True,
    ),
    Wild(
        expect="dropped:same_bytes",
        url="wild/same_bytes.png",
        file="wild/same_bytes.png",
        clip="recreation/games/cards/two_cats_tess_brady_01.png",
        bundled=True,
    ),
    Wild(
        expect="dropped:near_duplicate",
        url="wild/smaller.jpg",
        file="wild/smaller.jpg",
        clip="plants/flowers/sun_flower_ganson.png",
        make=spoil.smaller_jpeg,
        derived="flattened on white, shrunk to 3/4, JPEG",
        bundled=True,
    ),
    Wild(
        expect="dropped:short_side_min",
        url="wild/icon.png",
        file="wild/icon.png",
        clip="computer/buttons/fancy_red_button_matt_to_01.png",
        make=spoil.icon,
        derived="flattened on white, shrunk to 32 x 32 px",
    ),
    Wild(
        expect="dropped:blank_fraction_max",
        url="wild/white_on_transparent.png",
        file="wild/white_on_transparent.png",
        clip="animals/birds/new_penguin_charles_mcco_01.png",
        make=spoil.white_on_transparent,
        derived="painted white, alpha kept",
    ),
    Wild(
        expect="dropped:text_eps",
        url="wild/text_eps.png",
        file="wild/text_eps.png",
        clip="signs_and_symbols/flags/europe/spain/city_flag_of_gijon_ast_r.png",
        words={"title": "EPS converted from file_001.eps", "text": ""},
    ),
    Wild(
        expect="dropped:text_email",
        url="wild/text_email.png",
        file="wild/text_email.png",
        clip="signs_and_symbols/flags/europe/ampelmaennchen_matthew_g_01.png",
        words={"text": "jane.doe@example.org"},
    ),
    Wild(
        expect="dropped:text_hash",
        url="wild/text_hash.png",
        file="wild/text_hash.png",
        clip="signs_and_symbols/nfpa_fire_diamond_sp_.png",
        words={"text": "hash(0x8a0a39c)"},
    ),
    Wild(
        expect="dropped:text_filename",
        url="wild/text_filename.png",
        file="wild/text_filename.png",
        clip="transportation/boating/knot_sqaure.png",
        words={"text": "IMG_20051231_knot_square_final2.png"},
    ),
    Wild(
        expect="dropped:text_url",
        url="wild/text_url.png",
        file="wild/text_url.png",
        clip="geography/spanish_regions_01.png",
        words={"text": "http://www.example.org/cliparts/maps/"},
    ),
    Wild(
        expect="dropped:text_chars_min",
        url="wild/no_words.png",
        file="wild/no_words.png",
        clip="buildings/school_country__abiclipa_01.png",
        words={"title": "", "text": "", "tags": []},
    ),
)
