-- Who exists, as far as the messages service needs to know. No personal data.
CREATE TABLE people (
  user_id uuid NOT NULL CONSTRAINT people_once PRIMARY KEY
);
