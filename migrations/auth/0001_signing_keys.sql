-- Public halves of the keys that sign access tokens. A retired one stays for as long as tokens that it signed may live.
CREATE TABLE signing_keys (
  kid        text COLLATE "C" NOT NULL CONSTRAINT signing_keys_kid PRIMARY KEY,
  public_key text NOT NULL,                      -- SubjectPublicKeyInfo, PEM
  created_at timestamptz NOT NULL,
  retired_at timestamptz
);
