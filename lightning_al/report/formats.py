"""Numbers as the sentences and tables of a report write them."""

from __future__ import annotations


def p_value(p: float) -> str:
    """Write a probability as papers do.

    >>> p_value(0.0161), p_value(0.0002), p_value(1.0)
    ('= .016', '< .001', '= 1')
    """
    if p < 0.001:
        return "< .001"
    return "= 1" if p >= 0.9995 else f"= {p:.3f}".replace("0.", ".")


def signed(value: float) -> str:
    r"""Write a difference with its sign.

    >>> signed(0.0401), signed(-0.2)
    ('+0.040', '\u22120.200')
    """
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def count(value: float) -> str:
    r"""Write a mean number of labels.

    >>> count(20.0), count(27.46), count(-3.2)
    ('20', '27.5', '\u22123.2')
    """
    return f"{value:.1f}".removesuffix(".0").replace("-", "\N{MINUS SIGN}")
