package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Most captures that one call can have: SWOLL_CALL_CAPTURES.
const maxRules = 4

// Counts that are no argument, and rule flags, as in package syscalls.
const (
	countOne    = 0xfe
	countReturn = 0xff
	ruleData    = 1
	ruleExit    = 2
)

// tables are the architectures of kernel.txt in the order of output.
var tables = []struct {
	arch, variable string
	word           int // bytes of a pointer
}{
	{"x86_64", "tableAMD64", 8},
	{"i386", "table386", 4},
	{"x32", "tableX32", 4},
	{"arm64", "tableARM64", 8},
}

// valueArch is the name of an architecture in values.txt.
func valueArch(arch string) string {
	switch arch {
	case "x86_64", "x32":
		return "amd64"
	case "i386":
		return "386"
	}
	return arch
}

// A place tells where a line stands, for errors.
type place struct {
	file string
	line int
}

func (p place) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", p.file, p.line, fmt.Errorf(format, args...))
}

// readLines calls each for the lines of a file that say something. A line that ends
// inside a comment marker is cut there.
func readLines(path string, each func(p place, line string) error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if err := each(place{path, i + 1}, line); err != nil {
			return err
		}
	}
	return nil
}

// A kernelCall is a line of kernel.txt.
type kernelCall struct {
	nr   int
	name string
	args []kernelArg
}

type kernelArg struct{ name, kind string }

func readKernel(path string) (map[string][]kernelCall, error) {
	calls := map[string][]kernelCall{}
	err := readLines(path, func(p place, line string) error {
		f := strings.SplitN(line, " ", 4)
		if len(f) < 3 {
			return p.errorf("not `ARCH NUMBER NAME ARGS`")
		}
		nr, err := strconv.Atoi(f[1])
		if err != nil {
			return p.errorf("number: %w", err)
		}
		c := kernelCall{nr: nr, name: f[2]}
		if len(f) == 4 {
			for _, a := range strings.Split(f[3], ", ") {
				name, kind, ok := strings.Cut(a, ": ")
				if !ok {
					return p.errorf("argument %q has no type", a)
				}
				c.args = append(c.args, kernelArg{name, kind})
			}
		}
		if len(c.args) > 6 {
			return p.errorf("%d arguments", len(c.args))
		}
		calls[f[0]] = append(calls[f[0]], c)
		return nil
	})
	return calls, err
}

// A setRow is a row of values.txt, before an architecture is chosen.
type setRow struct {
	name    string
	include string // of +SET
	value   uint64
	mask    uint64
	kind    string // RowName, RowShift or RowOctal
	only    string // architecture
	other   map[string]uint64
}

type set struct {
	flags   bool
	unknown string
	rows    []setRow
}

type field struct {
	name, format, what string
	offset             map[string]int // by architecture; "" is any
	size               int            // 0: what the format says
	show               string
}

type structure struct {
	size     map[string]int
	portable bool
	fields   []field
}

type values struct {
	sets        map[string]*set
	structs     map[string]*structure
	setNames    []string
	structNames []string
}

func parseNumber(s string) (uint64, error) {
	if strings.HasPrefix(s, "-") {
		v, err := strconv.ParseInt(s, 0, 64)
		return uint64(v), err
	}
	return strconv.ParseUint(s, 0, 64)
}

func readValues(path string) (*values, error) {
	v := &values{sets: map[string]*set{}, structs: map[string]*structure{}}
	var current *set
	err := readLines(path, func(p place, line string) error {
		f := strings.Fields(line)
		switch {
		case line[0] == ' ':
			if current == nil {
				return p.errorf("a row outside a set")
			}
			for _, word := range f {
				r, err := parseRow(word)
				if err != nil {
					return p.errorf("%s: %w", word, err)
				}
				current.rows = append(current.rows, r)
			}
		case (f[0] == "flags" || f[0] == "values") && len(f) == 3:
			current = &set{flags: f[0] == "flags", unknown: f[2]}
			if f[2] == "-" {
				current.unknown = ""
			}
			if v.sets[f[1]] != nil {
				return p.errorf("set %s is there already", f[1])
			}
			v.sets[f[1]] = current
			v.setNames = append(v.setNames, f[1])
		case f[0] == "struct" && len(f) > 3:
			s, err := parseStruct(f)
			if err != nil {
				return p.errorf("struct %s: %w", f[1], err)
			}
			v.structs[f[1]] = s
			v.structNames = append(v.structNames, f[1])
		default:
			return p.errorf("not understood: %s", line)
		}
		return nil
	})
	return v, err
}

func parseRow(word string) (setRow, error) {
	r := setRow{kind: "RowName", other: map[string]uint64{}}
	if rest, ok := strings.CutPrefix(word, "+"); ok {
		name, mask, masked := strings.Cut(rest, "/")
		r.include = name
		if masked {
			var err error
			if r.mask, err = parseNumber(mask); err != nil {
				return r, err
			}
		}
		return r, nil
	}
	name, rest, ok := strings.Cut(word, "=")
	if !ok {
		return r, errors.New("not NAME=VALUE")
	}
	r.name = name
	rest, r.only, _ = strings.Cut(rest, "@")
	parts := strings.Split(rest, ",")
	for _, o := range parts[1:] {
		arch, number, ok := strings.Cut(o, ":")
		n, err := parseNumber(number)
		if !ok || err != nil {
			return r, fmt.Errorf("not ARCH:VALUE: %s", o)
		}
		r.other[arch] = n
	}
	number, shift, shifted := strings.Cut(parts[0], "<<")
	number, mask, masked := strings.Cut(number, "/")
	var err error
	if r.value, err = parseNumber(number); err != nil {
		return r, err
	}
	if masked {
		if r.mask, err = parseNumber(mask); err != nil {
			return r, err
		}
	}
	if shifted {
		r.kind = "RowShift"
		if r.value, err = parseNumber(shift); err != nil {
			return r, err
		}
	}
	if name == "octal" {
		r.kind, r.name = "RowOctal", ""
	}
	return r, nil
}

// byArch parses `VALUE[,ARCH:VALUE]`.
func byArch(s string) (map[string]int, error) {
	out := map[string]int{}
	for i, part := range strings.Split(s, ",") {
		arch, number, ok := strings.Cut(part, ":")
		if !ok {
			arch, number = "", part
		}
		if ok != (i > 0) {
			return nil, fmt.Errorf("not VALUE,ARCH:VALUE: %s", s)
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, err
		}
		out[arch] = n
	}
	return out, nil
}

func ofArch(m map[string]int, arch string) int {
	if v, ok := m[valueArch(arch)]; ok {
		return v
	}
	return m[""]
}

func parseStruct(f []string) (*structure, error) {
	s := &structure{portable: strings.Contains(f[2], "*")}
	var err error
	if s.size, err = byArch(strings.ReplaceAll(f[2], "*", "")); err != nil {
		return nil, err
	}
	for _, word := range f[3:] {
		var fl field
		word, fl.show, _ = strings.Cut(word, "?")
		description, at, ok := strings.Cut(word, "@")
		if !ok {
			return nil, fmt.Errorf("%s has no offset", word)
		}
		fl.name, fl.format, _ = strings.Cut(description, ":")
		fl.format, fl.what, _ = strings.Cut(fl.format, "=")
		// OFFSET[/SIZE][,ARCH:OFFSET]
		first, others, _ := strings.Cut(at, ",")
		offset, size, sized := strings.Cut(first, "/")
		if sized {
			if fl.size, err = strconv.Atoi(size); err != nil {
				return nil, err
			}
		}
		if others != "" {
			offset += "," + others
		}
		if fl.offset, err = byArch(offset); err != nil {
			return nil, err
		}
		s.fields = append(s.fields, fl)
	}
	return s, nil
}

// A cond is a parsed condition.
type cond struct {
	arg    int
	mask   uint64
	values []uint64
}

// An arg is a parsed argument of calls.txt.
type arg struct {
	name, format, what string
	index              int
	named              bool
	out                string // In, Filled, FillsIn
	entry, exit        bool
	count              int // of the last capture
	entryCount         int
	exitCount          int
	show               string
}

// A shape is a parsed line of calls.txt.
type shape struct {
	place
	when  string // conditions of a variant
	args  []arg
	ret   string
	flags []string
	bare  bool // nothing but the name
}

// A description is what calls.txt says of a call.
type description struct {
	class, group string
	main         shape
	variants     []shape
}

func readCalls(path string) (map[string]*description, error) {
	calls := map[string]*description{}
	var class, group string
	err := readLines(path, func(p place, line string) error {
		if rest, ok := strings.CutPrefix(line, "["); ok {
			class, group, ok = strings.Cut(strings.TrimSuffix(rest, "]"), "/")
			if !ok {
				return p.errorf("not [Class/Group]: %s", line)
			}
			return nil
		}
		f := strings.Fields(line)
		names, when, variant := strings.Cut(f[0], "/")
		s := shape{place: p, when: when, bare: len(f) == 1}
		for i := 1; i < len(f); i++ {
			switch {
			case f[i] == "->" && i+1 < len(f):
				i++
				s.ret = f[i]
			case f[i][0] == '+':
				s.flags = append(s.flags, f[i][1:])
			default:
				a, err := parseArg(f[i], len(s.args), s.args)
				if err != nil {
					return p.errorf("%s: %w", f[i], err)
				}
				s.args = append(s.args, a)
			}
		}
		arch, list, special := strings.Cut(names, ":")
		if !special {
			arch, list = "", names
		} else {
			arch += ":"
		}
		for _, name := range strings.Split(list, ",") {
			name = arch + name
			if variant {
				if calls[name] == nil {
					return p.errorf("variant of %s, which is not there yet", name)
				}
				calls[name].variants = append(calls[name].variants, s)
				continue
			}
			if calls[name] != nil {
				return p.errorf("%s is there already", name)
			}
			calls[name] = &description{class: class, group: group, main: s}
		}
		return nil
	})
	return calls, err
}

// parseArg parses `[=]NAME[@INDEX][:FORMAT[=WHAT]][!|~][<[N]][>[N|ret]][?COND]`.
func parseArg(word string, n int, before []arg) (arg, error) {
	a := arg{out: "In", count: countOne}
	if n > 0 {
		a.index = before[n-1].index + 1
		if before[n-1].format == "lohi" {
			a.index++
		}
	}
	var err error
	word, a.show, _ = strings.Cut(word, "?")
	count := func(s string) (int, error) {
		switch s {
		case "":
			return countOne, nil
		case "ret":
			return countReturn, nil
		}
		return strconv.Atoi(s)
	}
	if head, s, ok := strings.Cut(word, ">"); ok {
		word, a.exit = head, true
		if a.exitCount, err = count(s); err != nil {
			return a, err
		}
		a.count = a.exitCount
	}
	if head, s, ok := strings.Cut(word, "<"); ok {
		word, a.entry = head, true
		if a.entryCount, err = count(s); err != nil {
			return a, err
		}
		if a.count == countOne {
			a.count = a.entryCount
		}
	}
	if head, ok := strings.CutSuffix(word, "!"); ok {
		word, a.out = head, "Filled"
	} else if head, ok := strings.CutSuffix(word, "~"); ok {
		word, a.out = head, "FillsIn"
	}
	word, a.named = strings.CutPrefix(word, "=")
	name, formatted, _ := strings.Cut(word, ":")
	a.format, a.what, _ = strings.Cut(formatted, "=")
	name, index, ok := strings.Cut(name, "@")
	if ok {
		if a.index, err = strconv.Atoi(index); err != nil {
			return a, err
		}
	}
	a.name = name
	if a.exit && a.out == "In" && !a.entry {
		return a, errors.New("read at exit only, but not marked as filled by the kernel")
	}
	return a, nil
}

// formats are the formats of calls.txt: the name in Go, the bytes of a field, and what
// reading what they point to takes.
var formats = map[string]struct {
	constant string
	size     int    // of a field
	how      string // rule; "": nothing can be read
	element  int    // bytes of one element; 0: of the structure
	data     bool   // a payload
	anyWord  bool   // 32-bit programs have the same layout
}{
	"int":      {constant: "FormatInt", size: 4},
	"uint":     {constant: "FormatUint", size: 4},
	"long":     {constant: "FormatLong", size: 8},
	"ulong":    {constant: "FormatUlong", size: 8},
	"hex":      {constant: "FormatHex", size: 8},
	"ptr":      {constant: "FormatPtr", size: 8},
	"fd":       {constant: "FormatFD", size: 4},
	"dirfd":    {constant: "FormatDirFD", size: 4},
	"path":     {constant: "FormatPath", how: "HowString", anyWord: true},
	"str":      {constant: "FormatStr", how: "HowString", anyWord: true},
	"data":     {constant: "FormatData", how: "HowBytes", element: 1, data: true, anyWord: true},
	"xdata":    {constant: "FormatHexData", how: "HowBytes", element: 1, data: true, anyWord: true},
	"pathbuf":  {constant: "FormatPathBuf", how: "HowBytes", element: 1, anyWord: true},
	"linkbuf":  {constant: "FormatLinkBuf", how: "HowBytes", element: 1, anyWord: true},
	"mode":     {constant: "FormatMode", size: 4},
	"smode":    {constant: "FormatFileMode", size: 4},
	"dev":      {constant: "FormatDev", size: 8},
	"off":      {constant: "FormatOff", size: 8},
	"size":     {constant: "FormatSize", size: 8},
	"pid":      {constant: "FormatPID", size: 4},
	"id":       {constant: "FormatID", size: 4},
	"signal":   {constant: "FormatSignal", size: 4},
	"flags":    {constant: "FormatFlags", size: 4},
	"value":    {constant: "FormatValue", size: 4},
	"ethproto": {constant: "FormatEthProto"},
	"ioctl":    {constant: "FormatIoctl"},
	"sockaddr": {constant: "FormatSockaddr", how: "HowSockaddr", element: 1, anyWord: true},
	"socklen":  {constant: "FormatSocklen", how: "HowBytes", element: 4, anyWord: true},
	"sockopt":  {constant: "FormatSockopt", how: "HowBytes", element: 1, anyWord: true},
	"iovec":    {constant: "FormatIovec", how: "HowIovec", element: 16, data: true},
	"msghdr":   {constant: "FormatMsghdr", how: "HowMsghdr", element: 56, data: true},
	"argv":     {constant: "FormatArgv", how: "HowStrings", anyWord: true},
	"struct":   {constant: "FormatStruct", how: "HowBytes"},
	"array":    {constant: "FormatArray", how: "HowBytes"},
	"clone3":   {constant: "FormatClone3", how: "HowBytes"},
	"wstatus":  {constant: "FormatWstatus", how: "HowBytes", element: 4, anyWord: true},
	"pair":     {constant: "FormatPair", how: "HowBytes", element: 8, anyWord: true},
	"intp":     {constant: "FormatIntp", how: "HowBytes", element: 4, anyWord: true},
	"errnop":   {constant: "FormatErrnop"},
	"rettid":   {constant: "FormatRetTID"},
	"sigset":   {constant: "FormatSigset", how: "HowBytes", element: 8, anyWord: true},
	"lohi":     {constant: "FormatLoHi"},
	"pgoff":    {constant: "FormatPgoff"},
	"rlim":     {constant: "FormatRlim", size: 8},
}

// defaultFormat is the format of an argument that calls.txt says nothing of.
func defaultFormat(a kernelArg) string {
	switch kind := strings.TrimPrefix(a.kind, "const "); {
	case strings.HasSuffix(kind, "*"), strings.HasSuffix(kind, "*const"), kind == "__sighandler_t":
		return "ptr"
	case a.name == "fd":
		return "fd"
	case a.name == "dfd":
		return "dirfd"
	case kind == "int", kind == "key_serial_t", kind == "__s32", kind == "timer_t":
		return "int"
	case kind == "pid_t":
		return "pid"
	case kind == "umode_t":
		return "mode"
	case kind == "size_t":
		return "size"
	case kind == "uid_t", kind == "gid_t":
		return "id"
	case kind == "loff_t", kind == "off_t":
		return "off"
	case kind == "long":
		return "long"
	case kind == "unsigned int", kind == "unsigned", kind == "u32", kind == "__u32":
		return "uint"
	}
	return "hex"
}

// A writer collects the generated source.
type writer struct {
	values  *values
	sets    map[string]string // literal to variable
	structs map[string]string
	decls   bytes.Buffer
	calls   []string
	index   map[string]int // literal of a call to its place
}

func generate(kernelPath, callsPath, valuesPath string) ([]byte, error) {
	kernel, err := readKernel(kernelPath)
	if err != nil {
		return nil, err
	}
	calls, err := readCalls(callsPath)
	if err != nil {
		return nil, err
	}
	vals, err := readValues(valuesPath)
	if err != nil {
		return nil, err
	}
	w := &writer{values: vals, sets: map[string]string{}, structs: map[string]string{}, index: map[string]int{}}
	var out bytes.Buffer
	used := map[string]bool{}
	for _, t := range tables {
		rows := map[int]int{}
		last := -1
		for _, k := range kernel[t.arch] {
			key := t.arch + ":" + k.name
			d := calls[key]
			if d == nil {
				key = k.name
				d = calls[key]
			}
			if d == nil {
				return nil, fmt.Errorf("%s of %s is not in %s: give it a line in the section of its class", k.name, t.arch, callsPath)
			}
			used[key] = true
			literal, err := w.call(t.arch, t.word, k, d)
			if err != nil {
				return nil, d.main.errorf("%s of %s: %w", k.name, t.arch, err)
			}
			at, ok := w.index[literal]
			if !ok {
				at = len(w.calls)
				w.index[literal] = at
				w.calls = append(w.calls, literal)
			}
			rows[k.nr] = at
			last = max(last, k.nr)
		}
		fmt.Fprintf(&out, "var %s = []*Call{\n", t.variable)
		for nr := 0; nr <= last; nr++ {
			if at, ok := rows[nr]; ok {
				fmt.Fprintf(&out, "%d: &calls[%d],\n", nr, at)
			}
		}
		out.WriteString("}\n\n")
	}
	for name, d := range calls {
		if !used[name] {
			return nil, d.main.errorf("no architecture has a call %s", name)
		}
	}

	var b bytes.Buffer
	b.WriteString("// Code generated by gen from kernel.txt, calls.txt and values.txt; DO NOT EDIT.\n\npackage syscalls\n\n")
	b.Write(out.Bytes())
	b.WriteString("var calls = [...]Call{\n")
	for _, c := range w.calls {
		b.WriteString(c + ",\n")
	}
	b.WriteString("}\n\nvar setsByName = map[string]*Set{\n")
	sort.Strings(vals.setNames)
	for _, name := range vals.setNames {
		variable, err := w.set(name, "x86_64")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q: &%s,\n", name, variable)
	}
	b.WriteString("}\n\nvar structsByName = map[string]*Struct{\n")
	sort.Strings(vals.structNames)
	for _, name := range vals.structNames {
		variable, err := w.structure(name, "x86_64")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q: &%s,\n", name, variable)
	}
	b.WriteString("}\n\n")
	b.Write(w.decls.Bytes())
	return format.Source(b.Bytes())
}

// flatten returns the rows of a set on an architecture, those of included sets too.
func (w *writer) flatten(name, arch string, depth int) ([]setRow, error) {
	s := w.values.sets[name]
	if s == nil || depth > 4 {
		return nil, fmt.Errorf("no set %s in values.txt", name)
	}
	a := valueArch(arch)
	var rows []setRow
	for _, r := range s.rows {
		if r.include != "" {
			more, err := w.flatten(r.include, arch, depth+1)
			if err != nil {
				return nil, err
			}
			for _, m := range more {
				if r.mask != 0 {
					m.mask = r.mask
				}
				rows = append(rows, m)
			}
			continue
		}
		if r.only != "" && r.only != a && (r.only != "amd64" || a != "386") {
			continue
		}
		if v, ok := r.other[a]; ok {
			r.value = v
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// set returns the variable that holds a set, declaring it when it is new.
func (w *writer) set(name, arch string) (string, error) {
	rows, err := w.flatten(name, arch, 0)
	if err != nil {
		return "", err
	}
	s := w.values.sets[name]
	var b strings.Builder
	fmt.Fprintf(&b, "Set{Unknown: %q, Flags: %t, Rows: []SetRow{\n", s.unknown, s.flags)
	for _, r := range rows {
		fmt.Fprintf(&b, "{%q, %#x, %#x, %s},\n", r.name, r.value, r.mask, r.kind)
	}
	b.WriteString("}}")
	return w.declare(w.sets, "set_"+name, b.String(), arch), nil
}

func (w *writer) declare(known map[string]string, name, literal, arch string) string {
	key := name + literal
	if v, ok := known[key]; ok {
		return v
	}
	parts := strings.Split(name, "_")
	variable := parts[0]
	for _, p := range parts[1:] {
		if p != "" {
			variable += strings.ToUpper(p[:1]) + p[1:]
		}
	}
	for _, v := range known {
		if v == variable {
			variable += strings.ToUpper(valueArch(arch)[:1]) + valueArch(arch)[1:]
		}
	}
	known[key] = variable
	fmt.Fprintf(&w.decls, "var %s = %s\n\n", variable, literal)
	return variable
}

// structure returns the variable that holds a structure, declaring it when it is new.
func (w *writer) structure(name, arch string) (string, error) {
	s := w.values.structs[name]
	if s == nil {
		return "", fmt.Errorf("no struct %s in values.txt", name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Struct{Size: %d, Fields: []Field{\n", ofArch(s.size, arch))
	for _, f := range s.fields {
		fm, ok := formats[f.format]
		if !ok {
			return "", fmt.Errorf("struct %s: no format %s", name, f.format)
		}
		size := f.size
		if size == 0 {
			size = fm.size
		}
		var extra string
		switch f.format {
		case "flags", "value":
			v, err := w.set(f.what, arch)
			if err != nil {
				return "", err
			}
			extra = ", Set: &" + v
		case "struct":
			v, err := w.structure(f.what, arch)
			if err != nil {
				return "", err
			}
			extra = ", Struct: &" + v
			size = ofArch(w.values.structs[f.what].size, arch)
		}
		if f.show != "" {
			c, err := parseCond(f.show, nil)
			if err != nil {
				return "", err
			}
			extra += ", Show: &" + c.literal("Cond")
		}
		if size == 0 || ofArch(f.offset, arch)+size > ofArch(s.size, arch) {
			return "", fmt.Errorf("struct %s: %s does not fit", name, f.name)
		}
		fmt.Fprintf(&b, "{Name: %q, Offset: %d, Size: %d, Format: %s%s},\n", f.name, ofArch(f.offset, arch), size, fm.constant, extra)
	}
	b.WriteString("}}")
	return w.declare(w.structs, "struct_"+name, b.String(), arch), nil
}

// parseCond parses `N=VALUE,...`, `N&MASK=VALUE,...` or `N&MASK`; name finds the value
// of a name.
func parseCond(s string, name func(arg int, name string) (uint64, bool)) (cond, error) {
	c := cond{mask: ^uint64(0)}
	head, list, hasValues := strings.Cut(s, "=")
	number, mask, masked := strings.Cut(head, "&")
	var err error
	if c.arg, err = strconv.Atoi(number); err != nil {
		return c, fmt.Errorf("condition %s: %w", s, err)
	}
	if masked {
		if c.mask, err = parseNumber(mask); err != nil {
			return c, fmt.Errorf("condition %s: %w", s, err)
		}
	}
	if !hasValues {
		return c, nil
	}
	if !masked {
		c.mask = 0xffffffff
	}
	for _, word := range strings.Split(list, ",") {
		v, err := parseNumber(word)
		if err != nil {
			ok := false
			if name != nil {
				v, ok = name(c.arg, word)
			}
			if !ok {
				return c, fmt.Errorf("condition %s: no value %s", s, word)
			}
		}
		c.values = append(c.values, v)
	}
	return c, nil
}

func (c cond) literal(kind string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s{Arg: %d, Mask: %#x", kind, c.arg, c.mask)
	if c.values != nil {
		b.WriteString(", Values: []uint64{")
		for i, v := range c.values {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%#x", v)
		}
		b.WriteString("}")
	}
	b.WriteString("}")
	return b.String()
}

type rule struct {
	how               string
	arg, count, flags int
	size              int
}

// call returns the Go literal of a call.
func (w *writer) call(arch string, word int, k kernelCall, d *description) (string, error) {
	main := d.main
	if main.bare {
		for i, a := range k.args {
			main.args = append(main.args, arg{name: a.name, index: i, format: defaultFormat(a), out: "In", count: countOne})
		}
	}
	names := func(n int, name string) (uint64, bool) { return w.valueOf(arch, d, n, name) }
	args, err := w.args(arch, k, main.args, names)
	if err != nil {
		return "", err
	}
	ret, err := w.ret(arch, main.ret)
	if err != nil {
		return "", err
	}
	rules, err := w.rules(arch, word, main.args)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{Name: %q, Class: %q, Group: %q, NArgs: %d, Args: %s", k.name, d.class, d.group, len(k.args), args)
	if ret != "" {
		b.WriteString(", Ret: " + ret)
	}
	if len(d.variants) > 0 {
		b.WriteString(", Variants: []Variant{\n")
		for _, v := range d.variants {
			args, err := w.args(arch, k, v.args, names)
			if err != nil {
				return "", v.errorf("%w", err)
			}
			ret, err := w.ret(arch, v.ret)
			if err != nil {
				return "", v.errorf("%w", err)
			}
			b.WriteString("{When: []Cond{")
			for _, s := range strings.Split(v.when, ";") {
				c, err := parseCond(s, func(n int, name string) (uint64, bool) {
					if x, ok := w.valueIn(arch, v.args, n, name); ok {
						return x, true
					}
					return names(n, name)
				})
				if err != nil {
					return "", v.errorf("%w", err)
				}
				b.WriteString(strings.TrimPrefix(c.literal("Cond"), "Cond") + ", ")
			}
			b.WriteString("}, Args: " + args)
			if ret != "" {
				b.WriteString(", Ret: " + ret)
			}
			b.WriteString("},\n")
		}
		b.WriteString("}")
	}
	if len(rules) > 0 {
		b.WriteString(", Rules: []Rule{")
		for _, r := range rules {
			fmt.Fprintf(&b, "{%s, %d, %#x, %d, %d}, ", r.how, r.arg, r.count, r.flags, r.size)
		}
		b.WriteString("}")
	}
	var flags []string
	for _, f := range main.flags {
		if !slices.Contains([]string{"life", "cred", "exec"}, f) {
			return "", fmt.Errorf("no flag %s", f)
		}
		flags = append(flags, strings.ToUpper(f[:1])+f[1:])
	}
	if len(flags) > 0 {
		b.WriteString(", Flags: " + strings.Join(flags, " | "))
	}
	b.WriteString("}")
	return b.String(), nil
}

// valueOf finds a name among the values of an argument, in any form of the call.
func (w *writer) valueOf(arch string, d *description, n int, name string) (uint64, bool) {
	if v, ok := w.valueIn(arch, d.main.args, n, name); ok {
		return v, true
	}
	for _, s := range d.variants {
		if v, ok := w.valueIn(arch, s.args, n, name); ok {
			return v, true
		}
	}
	return 0, false
}

func (w *writer) valueIn(arch string, args []arg, n int, name string) (uint64, bool) {
	for _, a := range args {
		if a.index != n || a.what == "" || w.values.sets[a.what] == nil {
			continue
		}
		rows, err := w.flatten(a.what, arch, 0)
		if err != nil {
			continue
		}
		for _, r := range rows {
			if r.name == name {
				return r.value, true
			}
		}
	}
	return 0, false
}

func (w *writer) args(arch string, k kernelCall, args []arg, names func(int, string) (uint64, bool)) (string, error) {
	if len(args) == 0 {
		return "nil", nil
	}
	var b strings.Builder
	b.WriteString("[]Arg{\n")
	for _, a := range args {
		last := a.index
		if a.format == "lohi" {
			last++
		}
		if last >= len(k.args) {
			return "", fmt.Errorf("%s is argument %d of %d", a.name, last+1, len(k.args))
		}
		if a.format == "" {
			a.format = defaultFormat(k.args[a.index])
		}
		f, ok := formats[a.format]
		if !ok {
			return "", fmt.Errorf("%s: no format %s", a.name, a.format)
		}
		fmt.Fprintf(&b, "{Name: %q, Index: %d, Format: %s", a.name, a.index, f.constant)
		switch a.format {
		case "flags", "value", "ethproto", "ioctl":
			v, err := w.set(a.what, arch)
			if err != nil {
				return "", err
			}
			b.WriteString(", Set: &" + v)
		case "struct", "array", "clone3":
			v, err := w.structure(a.what, arch)
			if err != nil {
				return "", err
			}
			b.WriteString(", Struct: &" + v)
		}
		if a.count != countOne || f.how == "HowBytes" {
			fmt.Fprintf(&b, ", Count: %#x", a.count)
		}
		if a.out != "In" {
			b.WriteString(", Out: " + a.out)
		}
		if a.named {
			b.WriteString(", Named: true")
		}
		if a.show != "" {
			c, err := parseCond(a.show, names)
			if err != nil {
				return "", err
			}
			b.WriteString(", Show: &" + c.literal("Cond"))
		}
		b.WriteString("},\n")
	}
	b.WriteString("}")
	return b.String(), nil
}

func (w *writer) ret(arch, ret string) (string, error) {
	kind, name, _ := strings.Cut(ret, "=")
	constants := map[string]string{"fd": "RetFD", "hex": "RetHex", "octal": "RetOctal", "none": "RetNone", "poll": "RetPoll", "flags": "RetFlags", "seals": "RetFlags", "name": "RetName", "hexname": "RetHexName"}
	switch {
	case ret == "":
		return "", nil
	case constants[kind] == "":
		return "", fmt.Errorf("no result %s", ret)
	case name != "":
		v, err := w.set(name, arch)
		return fmt.Sprintf("Ret{Format: %s, Set: &%s, Label: %q}", constants[kind], v, kind), err
	}
	return fmt.Sprintf("Ret{Format: %s}", constants[kind]), nil
}

// rules derives what is read from the formats and marks of the arguments, the rules of
// the entry first.
func (w *writer) rules(arch string, word int, args []arg) ([]rule, error) {
	var entry, exit []rule
	for _, a := range args {
		f := formats[a.format]
		if a.format == "path" || a.format == "str" {
			a.entry, a.entryCount = true, countOne
		}
		if !a.entry && !a.exit {
			continue
		}
		if f.how == "" {
			return nil, fmt.Errorf("%s: what a %s points to cannot be read", a.name, a.format)
		}
		size, portable := f.element, f.anyWord
		if s := w.values.structs[a.what]; s != nil {
			size, portable = ofArch(s.size, arch), s.portable
		}
		if word == 4 && !portable {
			continue
		}
		flags := 0
		if f.data {
			flags |= ruleData
		}
		switch f.how {
		case "HowIovec":
			// The array itself, so that the bytes can be told apart, then the bytes.
			entry = append(entry, rule{"HowBytes", a.index, a.entryCount, 0, size})
			if a.exit {
				exit = append(exit, rule{f.how, a.index, a.exitCount, flags | ruleExit, 0})
			} else {
				entry = append(entry, rule{f.how, a.index, a.entryCount, flags, 0})
			}
			continue
		case "HowMsghdr":
			to, when := &entry, 0
			if a.exit {
				to, when = &exit, ruleExit
			}
			*to = append(*to, rule{"HowBytes", a.index, countOne, when, size}, rule{f.how, a.index, countOne, flags | when, 0})
			continue
		case "HowString", "HowStrings":
			size = 0
		}
		if a.entry {
			entry = append(entry, rule{f.how, a.index, a.entryCount, flags, size})
		}
		if a.exit {
			exit = append(exit, rule{f.how, a.index, a.exitCount, flags | ruleExit, size})
		}
	}
	all := append(entry, exit...)
	if len(all) > maxRules {
		return nil, fmt.Errorf("%d captures; a record has %d", len(all), maxRules)
	}
	return all, nil
}
