-- The few things the web role may do beyond what it is granted, each in its
-- narrow place. They run as the schema's owner. Run again whenever they change.

-- The rows of a request go where the request is, and nowhere else.
CREATE OR REPLACE FUNCTION airegw_follow(request TEXT) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE request_persons x SET office_id = r.office_id FROM requests r WHERE r.id = request AND x.request_id = request;
    UPDATE events          x SET office_id = r.office_id FROM requests r WHERE r.id = request AND x.request_id = request;
    UPDATE outbox          x SET office_id = r.office_id FROM requests r WHERE r.id = request AND x.request_id = request;
    UPDATE core_events     x SET office_id = r.office_id FROM requests r WHERE r.id = request AND x.request_id = request;
    UPDATE halves          x SET office_id = r.office_id FROM requests r WHERE r.id = request AND x.request_id = request;
$$;

-- A person stops seeing a request; its applicant never does.
CREATE OR REPLACE FUNCTION airegw_drop_person(request TEXT, person TEXT) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM request_persons p WHERE p.request_id = request AND p.person_digest = person
    AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.id = request AND r.applicant_digest = person);
$$;

CREATE OR REPLACE FUNCTION airegw_end_session(token TEXT) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM sessions s WHERE s.token_digest = token;
$$;

CREATE OR REPLACE FUNCTION airegw_reinstate(what TEXT, who TEXT) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM revocations r WHERE r.kind = what AND r.subject = who;
$$;

REVOKE EXECUTE ON FUNCTION airegw_follow(TEXT), airegw_drop_person(TEXT, TEXT), airegw_end_session(TEXT), airegw_reinstate(TEXT, TEXT) FROM PUBLIC;
