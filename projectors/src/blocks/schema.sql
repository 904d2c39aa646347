-- Who has blocked whom, as far as the messages service needs to know. No personal data.
CREATE TABLE blocks (
  blocker uuid NOT NULL,
  blocked uuid NOT NULL,
  CONSTRAINT blocks_once PRIMARY KEY (blocker, blocked)
);

-- Who is kept away, too, asks by whom.
CREATE INDEX blocks_of_blocked ON blocks (blocked, blocker);
