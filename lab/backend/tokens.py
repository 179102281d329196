"""Accept the tokens of the realm, and nobody else's."""

from __future__ import annotations

import os
from typing import Any

# Neither is a dependency of this repository: they come with the image.
import jwt  # type: ignore[import-not-found]
from fastapi import HTTPException, Request  # type: ignore[import-not-found]

ISSUER = os.environ.get("TOKEN_ISSUER", "http://keycloak:8080/realms/lab")
AUDIENCE = "backend"
# The public keys are kept for five minutes: Keycloak may be away for a while and known tokens are still accepted.
keys = jwt.PyJWKClient(f"{ISSUER}/protocol/openid-connect/certs", lifespan=300, timeout=2)


def claims_of(request: Request) -> dict[str, Any]:
    """Return what a valid bearer token says; 401 for one that is not, 503 when the keys cannot be had."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise HTTPException(401, "A bearer token is needed.", {"WWW-Authenticate": "Bearer"})
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
    except jwt.PyJWKClientConnectionError as error:
        raise HTTPException(503, "The keys that tokens are checked with cannot be had.") from error
    except jwt.PyJWTError as error:
        raise HTTPException(401, f"The token is not valid: {error}.", {"WWW-Authenticate": "Bearer"}) from error
    return claims
