"""What the settings of an algorithm may be: the checks of its ``Config``. Each raises ValueError with the setting's name."""


def at_least(config, least: int, *names: str) -> None:
    """Counts: ``least`` or more."""
    for name in names:
        if not getattr(config, name) >= least:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be at least {least}.")


def positive(config, *names: str) -> None:
    """Numbers > 0: step sizes, say."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be > 0.")


def in_unit_interval(config, *names: str) -> None:
    """Numbers from 0 to 1: gamma and lambda."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must lie in [0, 1].")


def layers(config, empty: str) -> None:
    """``hidden``, the units of the hidden layers. empty: what is there without any, for the message."""
    if min(config.hidden, default=1) < 1:
        raise ValueError(f"hidden is {config.hidden}; every layer needs at least 1 unit (an empty tuple: {empty}).")
