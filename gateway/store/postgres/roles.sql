-- Two roles without a login of their own. airegw_web serves people: it deletes
-- nothing, adds to events and to the audit trail without ever changing them, and
-- sees what the office or the person it works for may see. airegw_work does the
-- rest. A replica of one role takes it on when it connects. Run again after each
-- migration.

DO $$
DECLARE
    role TEXT;
    t    RECORD;
    may  TEXT;
    sees TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['airegw_web', 'airegw_work'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this server was quicker
            END;
        END IF;
        IF NOT pg_has_role(current_user, role, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO airegw_web, airegw_work', current_schema());
    FOR t IN SELECT c.relname AS name,
            EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'office_id') AS office,
            EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'request_id') AS request
        FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, airegw_web, airegw_work', t.name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO airegw_work', t.name);
        may := CASE
            WHEN t.name IN ('events', 'audit_entries', 'login_records', 'login_shared') THEN 'SELECT, INSERT'
            WHEN t.name = 'audit_payloads' THEN 'INSERT'
            WHEN t.name IN ('audit_blocks', 'goose_db_version') THEN 'SELECT'
            ELSE 'SELECT, INSERT, UPDATE'
        END;
        EXECUTE format('GRANT %s ON %I TO airegw_web', may, t.name);
        CONTINUE WHEN NOT t.office;
        -- airegw.office is the office's id, or * where the gateway works for
        -- nobody; airegw.person the digest of a citizen. Unset, nothing is seen.
        sees := 'current_setting(''airegw.office'', true) = ''*''
            OR (office_id <> '''' AND office_id = current_setting(''airegw.office'', true))';
        IF t.name = 'request_persons' THEN
            sees := sees || ' OR person_digest = current_setting(''airegw.person'', true)';
        ELSIF t.name = 'requests' OR t.request THEN
            sees := sees || format(' OR %I IN (SELECT p.request_id FROM request_persons p
                WHERE p.person_digest = current_setting(''airegw.person'', true))', CASE t.name WHEN 'requests' THEN 'id' ELSE 'request_id' END);
        END IF;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t.name);
        EXECUTE format('DROP POLICY IF EXISTS airegw_web ON %I', t.name);
        EXECUTE format('DROP POLICY IF EXISTS airegw_work ON %I', t.name);
        EXECUTE format('CREATE POLICY airegw_web ON %I TO airegw_web USING (%s) WITH CHECK (%s)', t.name, sees, sees);
        EXECUTE format('CREATE POLICY airegw_work ON %I TO airegw_work USING (true) WITH CHECK (true)', t.name);
    END LOOP;
END $$;

GRANT EXECUTE ON FUNCTION airegw_follow(TEXT), airegw_drop_person(TEXT, TEXT), airegw_end_session(TEXT), airegw_reinstate(TEXT, TEXT)
    TO airegw_web, airegw_work;
