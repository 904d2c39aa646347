-- The runner's own tables; they stand in every projection's schema, beside what they are about.
CREATE TABLE checkpoints (
  topic         text COLLATE "C" NOT NULL,
  partition     integer NOT NULL,                -- -1: the source's scan offset, which belongs to no partition
  build         integer NOT NULL,
  state         text COLLATE "C" NOT NULL CONSTRAINT checkpoints_state CHECK (state IN ('live', 'retired')),
  incarnation   uuid NOT NULL,
  generation    integer NOT NULL,
  last_position bigint NOT NULL,
  source        text COLLATE "C" NOT NULL,
  next_offset   bigint NOT NULL,
  CONSTRAINT checkpoints_place PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Poison, and what waits behind it, in order of position within a key.
CREATE TABLE parked (
  topic         text COLLATE "C" NOT NULL,
  partition_key text COLLATE "C" NOT NULL,
  position      bigint NOT NULL,
  reason        text,                            -- NULL: waits behind another
  event         json NOT NULL,                   -- as recorded, so that it needs no source to be tried again
  parked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT parked_event PRIMARY KEY (topic, partition_key, position)
);
