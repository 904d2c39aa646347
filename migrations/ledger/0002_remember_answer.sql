-- An idempotency record for a command that was answered with events that stood already (a message under an id that was used before, a receipt that was
-- given before): nothing is appended, so `append_batch` has nothing to leave a record with.
--
-- Answers the digest that stands: the one given, unless an unlapsed record was there first. Takes the lane, so that it cannot come between the check and the
-- write of a batch.
CREATE FUNCTION remember_answer(
  service int, actor text, command_key text, digest bytea, status int, event_ids uuid[], positions bigint[]
) RETURNS bytea LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
  ignored bool;
  stands bytea;
  kept constant interval := '24 hours';   -- as in append_batch
BEGIN
  ignored := pg_advisory_xact_lock(service, 0) IS NULL;   -- what follows has a later snapshot
  INSERT INTO command_results AS t (actor, command_key, digest, status, event_ids, positions, recorded_at)
    VALUES ($2, $3, $4, $5, $6, $7, clock_timestamp())
    ON CONFLICT (actor, command_key) DO UPDATE
      SET digest = excluded.digest, status = excluded.status, event_ids = excluded.event_ids, positions = excluded.positions, recorded_at = excluded.recorded_at
      WHERE t.recorded_at <= clock_timestamp() - kept;
  SELECT t.digest INTO stands FROM command_results t WHERE t.actor = $2 AND t.command_key = $3;
  RETURN stands;
END $$;
