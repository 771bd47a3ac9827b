package rules

import (
	"slices"
	"strconv"
	"strings"
)

// document is a rulebook as it was read: its sections, from however many files.
type document struct {
	root *node
	text []byte // the one document that is published
	top  place  // where a fault stands that has no place of its own: a missing section

	names map[string]map[string]place // of the sections that several files have: where each name stands
}

// readDocument parses the files and puts their sections together: mappings and
// lists are joined, anything else may stand in one file only. The version
// describes the file it stands in, so every file may repeat it.
//
// The result is nil if a file could not be read: what the others lack may stand
// in that one.
func readDocument(r *report, files []File) *document {
	doc := &document{root: &node{shape: mapping}, names: map[string]map[string]place{}}
	if len(files) == 0 {
		r.errorf(place{}, "", "there is no rulebook file")
		return nil
	}
	unreadable := false
	for _, f := range files {
		root := parseFile(r, f)
		if root == nil {
			unreadable = true
			continue
		}
		if doc.top.file == nil {
			doc.top = place{root.file, 1, 1}
		}
		for _, e := range root.entries {
			doc.join(r, e)
		}
	}
	if unreadable {
		return nil
	}
	doc.write(r, files)
	return doc
}

// join adds a file's section to the document.
func (d *document) join(r *report, e entry) {
	at := slices.IndexFunc(d.root.entries, func(have entry) bool { return have.key == e.key })
	if at < 0 {
		// Later files append to a copy; in brackets not every text could stand.
		copied := *e.value
		copied.flow = false
		e.value = &copied
		d.root.entries = append(d.root.entries, e)
		return
	}
	have := d.root.entries[at]
	switch {
	case have.value.shape == mapping && e.value.shape == mapping:
		names := d.namesOf(have)
		for _, add := range e.value.entries {
			if first, twice := names[add.key]; twice {
				r.twice(add.place, first, e.key+" "+add.key)
				continue
			}
			names[add.key] = add.place
			have.value.entries = append(have.value.entries, add)
			if len(have.value.entries) == sectionKeysMax+1 {
				r.errorf(add.place, "", "more than %d %s in all files", sectionKeysMax, e.key)
			}
		}
	case have.value.shape == list && e.value.shape == list:
		have.value.items = append(have.value.items, e.value.items...)
	case e.key == "version" && have.value.text == e.value.text:
	default:
		r.twice(e.place, have.place, e.key)
	}
}

// namesOf returns where the names of a section stand, which its caller keeps up.
func (d *document) namesOf(section entry) map[string]place {
	names := d.names[section.key]
	if names == nil {
		names = make(map[string]place, len(section.value.entries))
		for _, e := range section.value.entries {
			names[e.key] = e.place
		}
		d.names[section.key] = names
	}
	return names
}

// twice reports that something was already said at another place.
func (r *report) twice(at, first place, what string) {
	where := strconv.Itoa(first.line) + ":" + strconv.Itoa(first.column)
	if first.file != at.file {
		where = first.file.name + ":" + where
	}
	r.errorf(at, "keep one of the two", "%s stands twice, first at %s", what, where)
}

// write puts the document into one text: a single file as it is, several
// written anew. That text is what is published and read again, so it keeps to
// the bounds of a file.
func (d *document) write(r *report, files []File) {
	if len(files) == 1 {
		d.text = slices.Clone(files[0].Data)
		return
	}
	var w yamlWriter
	w.block(d.root, 0)
	d.text = []byte(w.String())
	if len(d.text) <= documentBytesMax {
		return
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	r.errorf(d.top, "make it smaller", "together %s have %d bytes, a rulebook has at most %d", strings.Join(names, ", "), len(d.text), documentBytesMax)
}

// yamlWriter writes a tree as YAML that reads as the same tree. Collections
// keep the style they had; texts are quoted unless they were plain.
type yamlWriter struct{ strings.Builder }

// block writes a collection, one entry a line.
func (w *yamlWriter) block(n *node, indent int) {
	margin := strings.Repeat(" ", indent)
	for _, e := range n.entries {
		w.WriteString(margin + yamlKey(e.key) + ":")
		w.value(e.value, indent+2)
	}
	for _, item := range n.items {
		w.WriteString(margin + "-")
		if item.flow || item.shape != mapping || len(item.entries) == 0 {
			w.value(item, indent+2)
			continue
		}
		// The first key of a mapping stands behind its dash.
		var inner yamlWriter
		inner.block(item, indent+2)
		w.WriteString(" " + strings.TrimLeft(inner.String(), " "))
	}
}

// value writes what follows a colon or a dash.
func (w *yamlWriter) value(n *node, indent int) {
	if (n.shape == mapping || n.shape == list) && !n.flow && len(n.entries)+len(n.items) > 0 {
		w.WriteString("\n")
		w.block(n, indent)
		return
	}
	if n.shape != nothing {
		w.WriteString(" ")
		w.inline(n)
	}
	w.WriteString("\n")
}

// inline writes a value within a line.
func (w *yamlWriter) inline(n *node) {
	switch n.shape {
	case mapping:
		w.WriteString("{")
		for i, e := range n.entries {
			w.separate(i)
			w.WriteString(yamlKey(e.key) + ": ")
			w.inline(e.value)
		}
		w.WriteString("}")
	case list:
		w.WriteString("[")
		for i, item := range n.items {
			w.separate(i)
			w.inline(item)
		}
		w.WriteString("]")
	case scalar:
		if n.style == plain {
			w.WriteString(n.text)
			return
		}
		w.WriteString(yamlQuote(n.text))
	case nothing:
		w.WriteString("null")
	}
}

func (w *yamlWriter) separate(i int) {
	if i > 0 {
		w.WriteString(", ")
	}
}

// yamlKey writes a key: as it is if nobody could read it as anything else.
func yamlKey(key string) string {
	if isName(key, "_-") {
		return key
	}
	return yamlQuote(key)
}

// yamlQuote writes a text in double quotes, on one line.
func yamlQuote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff:
			b.WriteString(`\u` + strings.ToUpper(strconv.FormatInt(0x10000+int64(r), 16)[1:]))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
