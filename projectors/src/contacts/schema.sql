-- Who has whom in their list. Names are not here: they are joined when the list is read.
CREATE TABLE contacts (
  user_id        uuid NOT NULL,                  -- whose list
  contact_id     uuid NOT NULL,                  -- who is in it
  contact_row_id uuid NOT NULL,
  nickname       text,
  added_at       timestamptz NOT NULL,
  position       bigint NOT NULL,                -- of contact.added: the later of two counts
  CONSTRAINT contacts_once PRIMARY KEY (user_id, contact_id)
);
CREATE INDEX contacts_in_order ON contacts (user_id, added_at, contact_row_id);
-- Whoever comes or goes is told to those who have them in their list.
CREATE INDEX contacts_by_contact ON contacts (contact_id, user_id);
