"""Phrases by which an answer declines, or says that it cannot know."""

from __future__ import annotations

import re

LOOKED_AT = 200  # characters: who declines says so first
_DO = (
    r"(?:answer|assist|help|provide|give|tell|say|find|access|determine|fulfil|fulfill|comply|do (?:that|this|it)"
    r"|browse|discuss|share|disclose|recommend|offer|respond|generate|create|complete|know|confirm|verify|predict|identify"
    r"|comment|advise|translate|perform)"
)
_TEXT = r"(?:passages?|texts?|contexts?|articles?|paragraphs?|documents?|questions?|story|sources?|information|data)"
_SAYS = r"(?:say|state|mention|specify|tell|provide|give|contain|include|answer|indicate|explain|describe|have)"
_KNOWN = r"(?:given|stated|mentioned|provided|specified|known|available|included|contained|found|clear|there)"
_THING = r"(?:answer|information|it|this|detail|name|number|date)s?"
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|afraid)[,.;]? "
    r"(?:but (?!i can help\b|i(?:'ll| will)\b)|that i\b|i\b(?! can help)|we\b|as\b|there\b)"
    r"|(?:i(?:'m| am)|we(?:'re| are)) not (?:capable of|equipped|allowed|permitted|comfortable|authorized|qualified"
    r"|sure(?! i'd)|certain|aware|programmed to|supposed to|going to answer)\b"
    r"|(?:i|we) (?:can(?:no|')t|can not|could(?:n't| not)|won't|will not|(?:do not|don't) want to"
    rf"|am (?:unable|not able))(?: to)? (?:\w+ly )?{_DO}\b"
    r"|(?:i|we)(?:'m| am|'re| are) (?:unable|not able) to"
    r"|(?:i|we)(?:'d| would) (?:rather|prefer) not|i prefer not to"
    r"|i (?:must|have to) (?:decline|refuse)|i (?:decline|refuse) to"
    r"|(?:i|we) (?:do not|don't) (?:know|have (?:access|enough|any|an answer|the|information|specific|real))"
    r"|i(?:'m| am) not familiar\b|(?:i|you|we) can(?:not|'t) answer (?:this|that|it|(?:the|your) question)\b"
    r"|i have no (?:idea|answer|comment|information|opinion|knowledge|access|way of knowing)\b"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    rf"|{_TEXT} (?:does|do|did)(?: not|n't) (?:\w+ly )?{_SAYS}\b"
    rf"|{_THING} (?:is|are|was|were)(?: not|n't) (?:{_KNOWN}\b|(?:\w+ )?in (?:the|this) {_TEXT})"
    rf"|not (?:given|stated|mentioned|provided|specified|found|available) in (?:the|this) {_TEXT}"
    r"|no (?:information|answer|data) (?:is |was )?(?:available|given|provided|found)\b"
    r"|(?:is|are|was|were) not (?:\w+ly )?(?:known|specified|stated|mentioned)(?=\W*(?:$|\n))"
    r"|does not (?:\w+ly )?(?:provide|give|contain) an? (?:clear|definite|definitive|specific|direct) answer\b"
    r"|je ne sais pas|ich weiß (?:es |das )?nicht|no lo sé|no sé(?=\W*$)|non lo so\b|(?:eu )?não sei\b"
    r"|ik weet (?:het|dat) niet"
    r"|but as an? [^.]{0,120}\bi (?:do not|don't|cannot|can't)$"
    r"|(?:there is|there's) (?:no (?:answer|mention|information|way (?:to|of) (?:know|tell|say))"
    r"|not enough|insufficient)\b"
    rf"|{_TEXT} (?:does|do) not (?:contain |provide |have |give )?enough information"
    r"|(?:cannot|can't|can not|could not) be (?:answered|determined|known|said)\b(?! by)"
    r"|(?:impossible|(?:not|n't) possible|no way|(?<!you are )unable|(?<!you are )not able)(?: for (?:me|us))? to"
    r" (?:say|know|tell|determine|answer|provide|give|help)|no comment\b|unanswerable\b)",
)


def refusal(text: str) -> str:
    """The phrase by which a text declines; "" without one."""
    found = _REFUSAL.search(text[:LOOKED_AT].lower().replace("’", "'"))
    return found.group(0) if found else ""
