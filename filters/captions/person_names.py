"""Names of people in a caption, as far as titles, occupations and verbs of naming show them."""

import re

import regex

_NAME = r"\p{Lu}[\p{L}'\u2019-]{1,40}"
_TITLES = (
    "Mr|Mrs|Ms|Mx|Dr|Prof|Professor|Sir|Dame|Lord|Lady|Reverend|Rev|President|Senator|Governor"
    "|Congressman|Congresswoman|Prime Minister|Chancellor|Queen|King|Prince|Princess|Pope|Duchess"
    "|Duke|General|Colonel|Captain|Sergeant|Judge|Justice|Saint"
    "|Herr|Frau|Fr\u00e4ulein|Bundeskanzler|Bundeskanzlerin|Pr\u00e4sident|Pr\u00e4sidentin"
    "|Monsieur|Madame|Mademoiselle|Mme|Mlle|pr\u00e9sident|pr\u00e9sidente|Maître"
    "|Se\u00f1or|Se\u00f1ora|Se\u00f1orita|Sr|Sra|Don|Do\u00f1a|presidente|presidenta"
    "|Signor|Signora|Signore|Signorina|Dottor|Dottoressa|Senhor|Senhora|Dona"
    "|\u0433\u043e\u0441\u043f\u043e\u0434\u0438\u043d|\u0433\u043e\u0441\u043f\u043e\u0436\u0430"
    "|\u043f\u0440\u0435\u0437\u0438\u0434\u0435\u043d\u0442"
)
_OCCUPATIONS = (
    "actor|actress|singer|musician|rapper|guitarist|footballer|soccer player|basketball player"
    "|tennis player|athlete|politician|comedian|director|author|writer|novelist|poet|painter"
    "|scientist|physicist|astronaut|journalist|businessman|businesswoman|entrepreneur"
    "|Schauspieler|Schauspielerin|S\u00e4nger|S\u00e4ngerin|Politiker|Politikerin"
    "|acteur|actrice|chanteur|chanteuse|cantante|actriz|attore|attrice|cantor|cantora|ator|atriz"
)
_NAMINGS = (
    "named|identified as|recogni[sz]ed as|by the name of|whose name is|signed by|portrait of"
    "|namens|mit dem Namen|nomm\u00e9e?|appel\u00e9e?|llamad[oa]|chamad[oa]|di nome"
    "|\u043f\u043e \u0438\u043c\u0435\u043d\u0438"
)
_LATIN = regex.compile(
    rf"\b(?:(?:{_TITLES})\.? (?:\p{{Lu}}\. ?)?{_NAME}"
    rf"|(?:{_OCCUPATIONS}) {_NAME} {_NAME}"
    rf"|(?:{_NAMINGS}) {_NAME}(?: {_NAME})?)"
)
# Family names before an honorific; words as "everyone" and "guest" take the same ones.
_JAPANESE = re.compile(
    r"(?<![\u4e00-\u9fff])(?!\u304a|\u7686|\u5ba2|\u6bcd|\u7236|\u5144|\u59c9|\u5a18|\u5965)"
    r"[\u4e00-\u9fff\u30a0-\u30ff]{2,6}(?:\u3055\u3093|\u6c0f(?![\u4e00-\u9fff]))"
)
_CHINESE = re.compile(r"(?:\u540d\u53eb|\u540d\u4e3a|\u53eb\u505a)[\u4e00-\u9fff\u00b7]{2,8}")


def person_name_in(text: str) -> str:
    """Return the first words that name a person, or ''.

    Found are names after a title (Dr. Smith), after an occupation (actor Tom Hanks), and after a
    verb of naming (a man named Peter). Missed are names alone ("Tom Hanks waves"), names in lower
    case, and most in scripts other than Latin. Names of pets, firms, places and fictional figures
    that stand in such places are found too ("a dog named Rex", "Dr Pepper", "King Kong").

    >>> person_name_in("A portrait of Dr. A. Smith at a desk."), person_name_in("A doctor smiles.")
    ('portrait of Dr', '')
    """
    for pattern in (_LATIN, _JAPANESE, _CHINESE):
        if found := pattern.search(text):
            return found[0]
    return ""
