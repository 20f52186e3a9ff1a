-- The last good key set of each identity provider, for a start while the provider is away.
CREATE TABLE identity_keys (
    issuer text NOT NULL PRIMARY KEY,
    keys text NOT NULL,
    saved_at text NOT NULL
);

-- Grants with refresh tokens, which all calls of a browser session share. A token is known by its
-- SHA-256; the result is encrypted.
CREATE TABLE session_refreshes (
    token_sha256 text NOT NULL PRIMARY KEY,
    owner text NOT NULL,
    sealed blob,
    expires_at text NOT NULL
);

CREATE INDEX session_refreshes_by_expiry ON session_refreshes (expires_at);
