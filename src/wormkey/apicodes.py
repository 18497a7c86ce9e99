"""Error codes beside those of pages: what the sessions API says, and how a tunnel ends streams.

Owns their sentences, in the form of codes.py. A code that both the API and the gateway use stands
there. The names of TUNNEL_CODES are those of RESET and GOAWAY frames (errors.ErrorCode).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from wormkey.codes import ERRORS, ErrorPage, Side

if TYPE_CHECKING:
    from collections.abc import Mapping

API_ERRORS: Final[Mapping[str, ErrorPage]] = MappingProxyType(
    {
        "access_token_required": ErrorPage(
            401,
            Side.VIEWER,
            "An access token is needed",
            "This server makes sessions for holders of an access token only.",
            "Run wormkey login with the server's URL. Operators: wormkeyd token add makes a token.",
        ),
        "origin_not_allowed": ErrorPage(
            403,
            Side.OPERATOR,
            "Not from this web page",
            "A web page asked for a session, and its origin is not one that may.",
            "Use the wormkey program. Operators: --cors-origin admits a web origin.",
        ),
        "cors_refused": ErrorPage(
            400,
            Side.OPERATOR,
            "Not across origins",
            "A browser asked whether a page may call this server, and it may not.",
            "Use the wormkey program. Operators: --cors-origin admits a web origin.",
        ),
        "name_taken": ErrorPage(
            409,
            Side.REQUEST,
            "The name is taken",
            "Another session has this name; an ended one keeps it for its owner for a day.",
            "Choose another name, or leave --name out.",
        ),
        "name_reserved": ErrorPage(
            409,
            Side.REQUEST,
            "The name is reserved",
            "The server keeps this name for itself.",
            "Choose another name.",
        ),
        "invalid_name": ErrorPage(
            400,
            Side.REQUEST,
            "This is no name",
            "A name is a lower case DNS label: letters, digits and hyphens, a letter first.",
            "Choose such a name, or leave --name out.",
        ),
        "invalid_expires_in": ErrorPage(
            400,
            Side.REQUEST,
            "This is no life time",
            "It is no number with a unit, or longer than the server allows.",
            "Write 90s, 30m, 2h or 7d. Operators: --max-session-age is the longest.",
        ),
        "invalid_port": ErrorPage(
            400,
            Side.REQUEST,
            "This is no port",
            "The port of a new session is not a number from 0 to 65535.",
            "Send the port that the app listens on, or 0 for none.",
        ),
        "invalid_auth_mode": ErrorPage(
            400,
            Side.REQUEST,
            "This is no way to log in",
            "The authMode is neither none nor basic, or does not fit the credentials beside it.",
            'Send "authMode": "basic" together with a username or password.',
        ),
        "invalid_username": ErrorPage(
            400,
            Side.REQUEST,
            "This is no user name",
            "A user name is 1 to 128 characters, no colon and no control among them.",
            "Choose such a name.",
        ),
        "invalid_password": ErrorPage(
            400,
            Side.REQUEST,
            "This is no password",
            "A password is 1 to 1024 characters, no control among them.",
            "Choose such a password, or leave it out for a generated one.",
        ),
        "invalid_policy": ErrorPage(
            400,
            Side.REQUEST,
            "This is no policy",
            "A member of the policy has a wrong type or a value out of range.",
            "The error's sentence names the member. Put that one right.",
        ),
        "invalid_viewer_id": ErrorPage(
            400,
            Side.REQUEST,
            "This is no viewer's id",
            "The id is not of the form that the gateway gives to viewers.",
            "Take the id from the list of viewers.",
        ),
        "invalid_request": ErrorPage(
            400,
            Side.REQUEST,
            "The content does not fit the call",
            "It is no JSON object, or a member has a wrong type.",
            "The error's sentence names the member. The server describes itself at /openapi.json.",
        ),
        "invalid_json": ErrorPage(
            400,
            Side.REQUEST,
            "This is no JSON",
            "The content of the request cannot be read as JSON.",
            "Send one JSON object in UTF-8.",
        ),
        "websocket_refused": ErrorPage(
            400,
            Side.REQUEST,
            "No WebSocket opens here",
            "The request wants to become a WebSocket, and this is the control plane.",
            "Tunnels and pages are at the gateway's address.",
        ),
        "unsupported_media_type": ErrorPage(
            415,
            Side.REQUEST,
            "Only JSON is read",
            "The Content-Type of the request is not application/json.",
            "Send Content-Type: application/json.",
        ),
        "starting": ErrorPage(
            503,
            Side.OPERATOR,
            "The server is starting",
            "The control plane answers already, and the gateway does not accept viewers yet.",
            "Try again in a second.",
        ),
        "store_failed": ErrorPage(
            503,
            Side.OPERATOR,
            "Nothing can be kept",
            "The server cannot write to its store, so it changes nothing. Tunnels go on.",
            "Try again later. Operators: the log has the reason, a full disk most likely.",
        ),
    }
)

# Statuses are those of the answer that a viewer gets where the head is not out yet, 0 for none.
TUNNEL_CODES: Final[Mapping[str, ErrorPage]] = MappingProxyType(
    {
        "no_error": ErrorPage(
            0,
            Side.OWNER,
            "Ended in good order",
            "A stream or a tunnel ended because nothing more was wanted.",
            "There is nothing to do.",
        ),
        "protocol_error": ErrorPage(
            502,
            Side.OPERATOR,
            "A rule of the tunnel was broken",
            "One end of the tunnel sent what the protocol does not allow.",
            "Update client and server to the same release.",
        ),
        "flow_control_error": ErrorPage(
            502,
            Side.OPERATOR,
            "More than the window",
            "One end of the tunnel sent more than the other one had room for.",
            "Update client and server to the same release.",
        ),
        "frame_size_error": ErrorPage(
            502,
            Side.OPERATOR,
            "A frame of a wrong size",
            "One end of the tunnel sent a frame that is too long or too short.",
            "Update client and server to the same release.",
        ),
        "stream_closed": ErrorPage(
            502,
            Side.OPERATOR,
            "A stream that is over",
            "One end of the tunnel wrote to a stream that had ended.",
            "Update client and server to the same release.",
        ),
        "refused_stream": ErrorPage(
            503,
            Side.OWNER,
            "Not taken",
            "The client was about to end, or to connect anew, and did nothing with this request.",
            "Try again in a moment.",
        ),
        "cancelled": ErrorPage(
            0,
            Side.VIEWER,
            "Nobody waits any more",
            "The viewer left, or the tunnel closed, before the answer was complete.",
            "There is nothing to do.",
        ),
        "enhance_your_calm": ErrorPage(
            429,
            Side.OWNER,
            "Too much at once",
            "Too many requests were open in the tunnel, or a viewer did not take his answer.",
            "Try again in a moment. Operators: --max-streams and --tunnel-window are the bounds.",
        ),
        "replaced": ErrorPage(
            0,
            Side.OWNER,
            "Another client took over",
            "A second wormkey connected for the same session, and the newest one wins.",
            "Share with one of the two; --name gives the other one a session of its own.",
        ),
    }
)

ALL_CODES: Final[Mapping[str, ErrorPage]] = MappingProxyType(
    {**ERRORS, **API_ERRORS, **TUNNEL_CODES}
)
