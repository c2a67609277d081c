package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airegw/anpr"
	"airegw/consulate"
)

// registryImportCmd reads official tables and reports what they change.
type registryImportCmd struct {
	JSON  bool     `name:"json" help:"One JSON object per file."`
	Out   string   `placeholder:"FILE" help:"Write the changes to be taken over to this file, as overlay rows to review."`
	Files []string `arg:"" name:"file" help:"Official tables; the kind is known by the header row."`
}

// Help is printed by --help.
func (registryImportCmd) Help() string {
	return `Reads the register's official tables: the archive of comuni (ANPR_archivio_comuni.csv),
the consular posts and their districts. Every file is checked whole before
anything is reported or written: one bad line in one file refuses them all.
Without --out nothing is written (a dry run). With it the changes land in FILE as overlay
rows with their source, replaced in one step; a person reviews them, adds them to
anpr/overlay_*.tsv (then runs cmd/tools/registrygen) or consulate/*.tsv. The running
tables never change.`
}

// importedTable is one official table, read and compared.
type importedTable struct {
	table   string                // what it is
	summary any                   // the report for --json, embedded under "report"
	lines   []string              // the report for people
	overlay func(io.Writer) error // the rows to review; nil when there are none to write
}

// tableReader reads one kind of official table, known by its header row. A new
// kind is one more entry in tableReaders.
type tableReader struct {
	header []string
	read   func(io.Reader) (*importedTable, error)
}

var tableReaders = []tableReader{
	{anpr.ComuniHeader, readComuniArchive},
	{consulate.PostsHeader, consularReader("consular posts (table 40)", "consulate/posts.tsv", consulate.ImportPosts)},
	{consulate.DistrictsHeader, consularReader("territorial competence of the posts (table 41)", "consulate/districts.tsv", consulate.ImportDistricts)},
}

// Run is called by kong.
func (c registryImportCmd) Run(std streams) error {
	var tables []*importedTable
	for _, name := range c.Files {
		table, err := readOfficialTable(name)
		if err != nil {
			return bad("%s is refused, nothing was read from any file: %w", name, err)
		}
		tables = append(tables, table)
	}
	for i, table := range tables {
		if err := table.print(std.out, c.Files[i], c.JSON); err != nil {
			return err
		}
	}
	if c.Out == "" {
		fmt.Fprintln(std.err, "airegw: nothing was written (dry run); --out FILE writes the changes for review")
		return nil
	}
	var overlay bytes.Buffer
	for _, table := range tables {
		if table.overlay == nil {
			continue
		}
		if err := table.overlay(&overlay); err != nil {
			return err
		}
	}
	if err := replaceFile(c.Out, overlay.Bytes()); err != nil {
		return fmt.Errorf("writing the changes: %w", err)
	}
	fmt.Fprintf(std.err, "airegw: the changes to review are in %s\n", c.Out)
	return nil
}

func (t *importedTable) print(out io.Writer, file string, asJSON bool) error {
	if asJSON {
		return writeJSON(out, struct {
			File   string `json:"file"`
			Table  string `json:"table"`
			Report any    `json:"report"`
		}{filepath.Base(file), t.table, t.summary})
	}
	_, err := fmt.Fprintf(out, "%s: %s\n%s", filepath.Base(file), t.table, strings.Join(append(t.lines, ""), "\n"))
	return err
}

// readOfficialTable opens a file and reads it by the header it begins with.
func readOfficialTable(name string) (*importedTable, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // read-only
	buffered := bufio.NewReaderSize(file, 16<<10)
	start, err := buffered.Peek(8 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	start = bytes.TrimPrefix(start, []byte("\uFEFF"))
	header, err := csv.NewReader(bytes.NewReader(start)).Read()
	if err != nil {
		return nil, errors.New("the file does not begin with the header row of an official table")
	}
	for _, reader := range tableReaders {
		if slices.Equal(header, reader.header) {
			return reader.read(buffered)
		}
	}
	return nil, fmt.Errorf("no official table has the header row %.200q", strings.Join(header, ","))
}

func readComuniArchive(file io.Reader) (*importedTable, error) {
	report, err := anpr.ImportComuni(file)
	if err != nil {
		return nil, err
	}
	table := &importedTable{table: "archive of comuni of the register", summary: report, overlay: report.WriteOverlay}
	table.lines = append(table.lines, fmt.Sprintf("  %d rows, %d comuni of today, newest fact %s, sha256 %.16s", report.Rows, report.Current, report.Newest, report.Digest))
	for _, change := range report.Changes {
		line := fmt.Sprintf("  %-8s  %s %s %s (%s)", change.Kind, change.ISTAT, change.Catastale, change.Name, change.Province)
		if change.Was != "" {
			line += "; ours: " + change.Was
		}
		if change.Ended != "" {
			line += "; ceased " + change.Ended
		}
		table.lines = append(table.lines, line)
	}
	if len(report.Changes) == 0 {
		table.lines = append(table.lines, "  changes nothing")
	}
	return table, nil
}

// consularReader reads one of the two consular tables. Their changes are for a
// person to judge one by one, so the overlay lists them as they are.
func consularReader(table, target string, read func(io.Reader) (consulate.Report, error)) func(io.Reader) (*importedTable, error) {
	return func(file io.Reader) (*importedTable, error) {
		report, err := read(file)
		if err != nil {
			return nil, err
		}
		imported := &importedTable{table: table, summary: report}
		imported.lines = append(imported.lines, fmt.Sprintf("  %d rows, %d as we have them, %d changes", report.Rows, report.Same, len(report.Changes)))
		for _, change := range report.Changes {
			line := fmt.Sprintf("  %-12s  %s", change.Kind, strings.Join(strings.Fields(change.State+" "+change.Code+" "+change.Key), " "))
			if change.Theirs != "" {
				line += "; the table: " + change.Theirs
			}
			if change.Ours != "" {
				line += "; ours: " + change.Ours
			}
			imported.lines = append(imported.lines, line)
		}
		if len(report.Unplaced) > 0 {
			imported.lines = append(imported.lines, "  not compared, without an ISO code: "+strings.Join(report.Unplaced, ", "))
		}
		imported.overlay = func(out io.Writer) error {
			if _, err := fmt.Fprintf(out, "# Changes to judge for %s, from the table of %s\n# kind\tstate\tcode\tkey\ttheirs\tours\n", target, table); err != nil {
				return err
			}
			for _, change := range report.Changes {
				row := []string{change.Kind, change.State, change.Code, change.Key, change.Theirs, change.Ours}
				if _, err := fmt.Fprintln(out, strings.Join(row, "\t")); err != nil {
					return err
				}
			}
			return nil
		}
		return imported, nil
	}
}

// replaceFile writes a file in one step: either the old or the new content is
// there, and the new one is on the disk when it returns.
func replaceFile(name string, content []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
