-- Where the frame logs in Redis stood a moment ago: for a Redis that has lost everything, together with the process that remembered it.
CREATE TABLE stood (
  topic         text COLLATE "C" NOT NULL,
  partition     integer NOT NULL,
  incarnation   uuid NOT NULL,
  generation    integer NOT NULL,
  last_position bigint NOT NULL,
  source        text COLLATE "C" NOT NULL,
  next_offset   bigint NOT NULL,
  CONSTRAINT stood_place PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
