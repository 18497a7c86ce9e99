"""What the service manager hands over in private: systemd's credentials (systemd.exec(5)).

A credential is a file in the folder that CREDENTIALS_DIRECTORY names; only this process's user and
root can read it. There is one, an access token to start with. Nothing here is ever logged.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wormkey.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_TOKEN: Final = "wormkey.first-token"  # noqa: S105 - LoadCredential= of wormkey.service
# 43 characters of base64url are the 256 bits of a token that the daemon makes itself.
_TOKEN: Final = re.compile(r"wk_[A-Za-z0-9_-]{43,253}", re.ASCII)


def read_first_token(environ: Mapping[str, str]) -> str | None:
    """Return the access token that the service manager passed; None if there is none.

    Raises:
        ConfigError: there is one, and it cannot be read or is no access token.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        return None
    path = Path(folder) / FIRST_TOKEN
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if _TOKEN.fullmatch(text) is None:
        raise ConfigError(
            f"the credential {FIRST_TOKEN} is no access token: write wk_ and 43 or more random "
            "characters of base64url, or remove it"
        )
    return text
