package store

import (
	"context"
	"fmt"

	"airegw/gateway"
)

// sealedColumn is an encrypted column: its table, the expressions that name a
// row (they are the primary key of the update) and the name its content is bound
// to, as SQL too.
type sealedColumn struct {
	table string
	key   [2]string // columns that find the row; the second may be ""
	bound string    // what the row is called in seal and open
}

// sealedColumns are all encrypted columns (key_id, private): a test compares
// them with the schema.
var sealedColumns = []sealedColumn{
	{"events", [2]string{"request_id", "seq"}, `request_id || '/' || CAST(seq AS TEXT)`},
	{"outbox", [2]string{"id", ""}, `kind || '/' || act_key`},
	{"halves", [2]string{"order_key", ""}, `order_key`},
	{"sessions", [2]string{"token_digest", ""}, `token_digest`},
	{"corrections", [2]string{"id", ""}, `id`},
	{"clearances", [2]string{"id", ""}, `id`},
	{"registry_dialogues", [2]string{"request_id", ""}, `request_id`},
	{"login_attempts", [2]string{"state_digest", ""}, `state_digest`},
	{"login_records", [2]string{"reference", "seq"}, `reference`},
	{"login_shared", [2]string{"digest", ""}, `digest`},
	{"login_tokens", [2]string{"reference", ""}, `reference`},
	{"card_reports", [2]string{"id", ""}, `id`},
	{"session_list", [2]string{"id", ""}, `id`},
	{"card_notices", [2]string{"source", "notice_id"}, `source || '/' || notice_id`},
}

// rotateMost is how many columns one step of Rotate encrypts at most.
const rotateMost = 200

// Rotate implements gateway.RetentionStore: one step over one table. It can be
// stopped and begun again anywhere, since each column says by which key it is
// encrypted, and goes on beside readers and writers. A column that no key of the
// file opens is Internal: nothing of the step happened.
func (s *Store) Rotate(ctx context.Context) (moved int, key string, err error) {
	key = s.keys.newest
	if s.readOnly {
		return 0, key, gateway.NewError(gateway.Unavailable, "store_read_only")
	}
	if len(s.keys.columns) == 1 || s.role == RoleWeb {
		return 0, key, nil
	}
	for _, c := range sealedColumns {
		moved, err = s.rotate(ctx, c)
		if moved > 0 || err != nil {
			return moved, key, err
		}
	}
	return 0, key, nil
}

func (s *Store) rotate(ctx context.Context, c sealedColumn) (int, error) {
	second := c.key[1]
	if second == "" {
		second = "''"
	}
	old := ` FROM ` + c.table + ` WHERE private IS NOT NULL AND key_id <> $1`
	var n int
	_, err := s.get(ctx, `SELECT COUNT(*) FROM (SELECT 1`+old+` LIMIT 1) x`, []any{s.keys.newest}, &n)
	if err != nil {
		return 0, translate("look for old keys", err)
	}
	if n == 0 {
		return 0, nil
	}
	choose := `SELECT ` + c.key[0] + `, ` + second + `, ` + c.bound + `, key_id, private` + old + ` LIMIT $2`
	set := `UPDATE ` + c.table + ` SET key_id = $1, private = $2 WHERE ` + c.key[0] + ` = $3`
	if c.key[1] != "" {
		set += ` AND ` + c.key[1] + ` = $4`
	}
	moved := 0
	err = s.write(ctx, func(t *tx) error {
		moved = 0
		rows, err := t.query(choose+t.either("", " FOR UPDATE SKIP LOCKED"), s.keys.newest, rotateMost)
		if err != nil {
			return err
		}
		type row struct {
			first, second any
			bound, keyID  string
			private       []byte
		}
		var all []row
		for rows.Next() {
			var r row
			err = rows.Scan(&r.first, &r.second, &r.bound, &r.keyID, &r.private)
			if err != nil {
				rows.Close() //nolint:sqlclosecheck // in a loop: closed before what follows
				return err
			}
			all = append(all, r)
		}
		err = rows.Err()
		rows.Close()
		if err != nil {
			return err
		}
		for _, r := range all {
			plain, err := s.keys.open(r.keyID, c.table, r.bound, "private", r.private)
			if err != nil {
				return internal("open with the old key", fmt.Errorf("row %s: %w", r.bound, err))
			}
			keyID, sealed, err := s.keys.seal(c.table, r.bound, "private", plain)
			if err != nil {
				return internal("encrypt with the new key", err)
			}
			args := []any{keyID, sealed, r.first}
			if c.key[1] != "" {
				args = append(args, r.second)
			}
			_, err = t.exec(set, args...)
			if err != nil {
				return err
			}
		}
		moved = len(all)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return moved, nil
}
