"""Messages of Jupyter's protocol as bytes, on both its sides."""

import json

from jupyter_client.jsonutil import json_clean, json_default
from jupyter_client.session import json_packer


def pack(message):
    """Jupyter's own cannot write one half of a surrogate pair, as '😀'[0] is in other languages: it comes as an escape."""
    try:
        return json_packer(message)
    except UnicodeEncodeError:
        return json.dumps(json_clean(message), default=json_default, allow_nan=False).encode()
