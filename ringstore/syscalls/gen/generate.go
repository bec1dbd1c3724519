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
const maxRules = 10

// Counts that are no argument, and rule flags, as in package syscalls.
const (
	countInside = 0xfd
	countOne    = 0xfe
	countReturn = 0xff
	noArg       = 0xff
	ruleData    = 1
	ruleExit    = 2
	ruleAt      = 8
	ruleCount4  = 16
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
	at                 map[string]extent // by architecture; "" is any
	show               string
}

// An extent is where a field lies: `OFFSET[/SIZE][xCOUNT]`.
type extent struct {
	offset, size, count int // size 0: what the format says
}

func parseExtent(s string) (extent, error) {
	var e extent
	s, count, counted := strings.Cut(s, "x")
	offset, size, sized := strings.Cut(s, "/")
	var err error
	if e.offset, err = strconv.Atoi(offset); err == nil && sized {
		e.size, err = strconv.Atoi(size)
	}
	if err == nil && counted {
		e.count, err = strconv.Atoi(count)
	}
	return e, err
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

func (v *values) read(path string) error {
	var current *set
	return readLines(path, func(p place, line string) error {
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
	r.name = strings.ReplaceAll(name, "%20", " ")
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
	switch name {
	case "decimal":
		r.name = ""
	case "octal":
		r.kind, r.name = "RowOctal", ""
	case "nothing":
		r.kind, r.name = "RowNothing", ""
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

func ofArch[T any](m map[string]T, arch string) T {
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
	if _, ok := s.size["386"]; ok {
		s.portable = true
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
		fl.at = map[string]extent{}
		for i, part := range strings.Split(at, ",") {
			arch, where, ok := strings.Cut(part, ":")
			if !ok {
				arch, where = "", part
			}
			if ok != (i > 0) {
				return nil, fmt.Errorf("not EXTENT,ARCH:EXTENT: %s", at)
			}
			if fl.at[arch], err = parseExtent(where); err != nil {
				return nil, err
			}
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
	word     bool   // of a field: as long as a pointer
	// structured: WHAT is a structure.
	structured bool
}{
	"int":        {constant: "FormatInt", size: 4},
	"uint":       {constant: "FormatUint", size: 4},
	"long":       {constant: "FormatLong", size: 8, word: true},
	"ulong":      {constant: "FormatUlong", size: 8, word: true},
	"hex":        {constant: "FormatHex", size: 8},
	"ptr":        {constant: "FormatPtr", size: 8, word: true},
	"fd":         {constant: "FormatFD", size: 4},
	"dirfd":      {constant: "FormatDirFD", size: 4},
	"path":       {constant: "FormatPath", how: "HowString", anyWord: true},
	"str":        {constant: "FormatStr", how: "HowString", anyWord: true},
	"data":       {constant: "FormatData", how: "HowBytes", element: 1, data: true, anyWord: true},
	"xdata":      {constant: "FormatHexData", how: "HowBytes", element: 1, data: true, anyWord: true},
	"pathbuf":    {constant: "FormatPathBuf", how: "HowBytes", element: 1, anyWord: true},
	"linkbuf":    {constant: "FormatLinkBuf", how: "HowBytes", element: 1, anyWord: true},
	"mode":       {constant: "FormatMode", size: 4},
	"smode":      {constant: "FormatFileMode", size: 4},
	"dev":        {constant: "FormatDev", size: 8},
	"off":        {constant: "FormatOff", size: 8},
	"size":       {constant: "FormatSize", size: 8, word: true},
	"pid":        {constant: "FormatPID", size: 4},
	"id":         {constant: "FormatID", size: 4},
	"signal":     {constant: "FormatSignal", size: 4},
	"flags":      {constant: "FormatFlags", size: 4},
	"value":      {constant: "FormatValue", size: 4},
	"ethproto":   {constant: "FormatEthProto"},
	"ioctl":      {constant: "FormatIoctl"},
	"sockaddr":   {constant: "FormatSockaddr", how: "HowSockaddr", element: 1, anyWord: true},
	"socklen":    {constant: "FormatSocklen", how: "HowBytes", element: 4, anyWord: true},
	"sockopt":    {constant: "FormatSockopt", how: "HowBytes", element: 1, anyWord: true},
	"iovec":      {constant: "FormatIovec", how: "HowIovec", element: 16, data: true, anyWord: true},
	"msghdr":     {constant: "FormatMsghdr", how: "HowIovec", element: 56, data: true, anyWord: true},
	"argv":       {constant: "FormatArgv", how: "HowStrings", anyWord: true},
	"struct":     {constant: "FormatStruct", how: "HowBytes", structured: true},
	"array":      {constant: "FormatArray", how: "HowBytes", structured: true},
	"clone3":     {constant: "FormatClone3", how: "HowBytes", structured: true},
	"inout":      {constant: "FormatInOut", how: "HowBytes", structured: true},
	"times":      {constant: "FormatTimes", how: "HowBytes", element: 32},
	"utimes":     {constant: "FormatUTimes", how: "HowBytes", element: 32},
	"ticks":      {constant: "FormatTicks", size: 8, word: true},
	"userdesc":   {constant: "FormatUserDesc", how: "HowBytes", element: 16, anyWord: true},
	"strptr":     {constant: "FormatPtr", how: "HowString", anyWord: true},
	"xint":       {constant: "FormatXint", size: 4},
	"named":      {constant: "FormatNamed", size: 4},
	"keyid":      {constant: "FormatKeyID", size: 4},
	"fanfd":      {constant: "FormatFanFD"},
	"nodes":      {constant: "FormatNodes", how: "HowBits"},
	"msgbuf":     {constant: "FormatMsgbuf", how: "HowMsgbuf", element: 8, data: true},
	"errstat":    {constant: "FormatErrStat", size: 4},
	"option":     {constant: "FormatOption", how: "HowOption", element: 1, anyWord: true},
	"cname":      {constant: "FormatComm", how: "HowBytes", element: 16, anyWord: true},
	"sigp":       {constant: "FormatSignalp", how: "HowBytes", element: 4, anyWord: true},
	"vec":        {constant: "FormatVec", how: "HowBytes", element: 16},
	"residency":  {constant: "FormatResidency", how: "HowPages", anyWord: true},
	"time":       {constant: "FormatTime", size: 8, word: true},
	"cpus":       {constant: "FormatCPUs", how: "HowBytes", element: 1, anyWord: true},
	"fdset":      {constant: "FormatFDSet", how: "HowBits", anyWord: true},
	"entries":    {constant: "FormatEntries", how: "HowEntries", element: 16},
	"entries4":   {constant: "FormatEntries", how: "HowEntries", element: 8, anyWord: true},
	"envp":       {constant: "FormatEnvp", how: "HowPointers", anyWord: true},
	"siginfo":    {constant: "FormatSiginfo", how: "HowBytes", element: 48},
	"mmsghdr":    {constant: "FormatMmsghdr", how: "HowIovec", element: 64, data: true},
	"sigmaskarg": {constant: "FormatSigmaskArg", how: "HowBytes", element: 16},
	"handler":    {constant: "FormatHandler", size: 8, word: true},
	"cstr":       {constant: "FormatCString", size: 1},
	"hexbytes":   {constant: "FormatHexBytes", size: 1},
	"more":       {constant: "FormatMore"},
	"inet":       {constant: "FormatInetAddr", size: 4},
	"inet6":      {constant: "FormatIn6Addr", size: 16},
	"ifindex":    {constant: "FormatIfindex", size: 4},
	"caps":       {constant: "FormatCaps", how: "HowBytes", element: 24, anyWord: true},
	"ifreq":      {constant: "FormatIfreq", how: "HowBytes", structured: true},
	"futexop":    {constant: "FormatFutexOp"},
	"ioprio":     {constant: "FormatIoprio"},
	"sized":      {constant: "FormatSized", how: "HowBytes", structured: true},
	"sizedopt":   {constant: "FormatSized", how: "HowOption", structured: true},
	"points":     {constant: "FormatPoints", how: "HowBytes", structured: true},
	"grown":      {constant: "FormatGrown", how: "HowBytes", structured: true},
	"change":     {constant: "FormatChange", how: "HowBytes", structured: true},
	"exit":       {constant: "FormatExit"},
	"strp":       {constant: "FormatStrPtr", size: 8},
	"pathp":      {constant: "FormatPathPtr", size: 8},
	"handle":     {constant: "FormatHandle", how: "HowBytes", element: handleHead, anyWord: true},
	"cdata":      {constant: "FormatTextData", how: "HowBytes", element: 1, data: true, anyWord: true},
	"errno":      {constant: "FormatErrno", size: 4},
	"kver":       {constant: "FormatKernelVersion", size: 4},
	"qcmd":       {constant: "FormatQcmd"},
	"ptrval":     {constant: "FormatPtrVal", how: "HowBytes", element: 8},
	"wstatus":    {constant: "FormatWstatus", how: "HowBytes", element: 4, anyWord: true},
	"pair":       {constant: "FormatPair", how: "HowBytes", element: 8, anyWord: true},
	"intp":       {constant: "FormatIntp", how: "HowBytes", element: 4, anyWord: true},
	"errnop":     {constant: "FormatErrnop", how: "HowBytes", element: 4, anyWord: true},
	"rettid":     {constant: "FormatRetTID"},
	"sigset":     {constant: "FormatSigset", how: "HowBytes", element: 8, anyWord: true, size: 8},
	"lohi":       {constant: "FormatLoHi"},
	"pgoff":      {constant: "FormatPgoff"},
	"rlim":       {constant: "FormatRlim", size: 8, word: true},
}

// A struct file_handle: its head, and the most that may follow.
const (
	handleHead = 8
	handleMost = 128
)

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

func generate(kernelPath, callsPath string, valuesPaths ...string) ([]byte, error) {
	kernel, err := readKernel(kernelPath)
	if err != nil {
		return nil, err
	}
	calls, err := readCalls(callsPath)
	if err != nil {
		return nil, err
	}
	vals := &values{sets: map[string]*set{}, structs: map[string]*structure{}}
	for _, path := range valuesPaths {
		if err := vals.read(path); err != nil {
			return nil, err
		}
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
		variable, err := w.structure(name, "x86_64", 0)
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

// skipped is how many bytes at the beginning of what an argument points to are not read,
// as none of them is shown.
func (w *writer) skipped(a arg, arch string) int {
	s := w.values.structs[a.what]
	if s == nil || a.format != "struct" && a.format != "inout" {
		return 0
	}
	first := ofArch(s.size, arch)
	for _, f := range s.fields {
		if f.format != "more" && f.format != "exit" {
			first = min(first, ofArch(f.at, arch).offset)
		}
	}
	return min(first&^7, 0xff&^7)
}

// structure returns the variable that holds a structure without so many bytes at its
// beginning, declaring it when it is new.
func (w *writer) structure(name, arch string, without int) (string, error) {
	s := w.values.structs[name]
	if s == nil {
		return "", fmt.Errorf("no struct %s in values.txt", name)
	}
	var b strings.Builder
	inner := 0
	fmt.Fprintf(&b, "Struct{Size: %d, Fields: []Field{\n", ofArch(s.size, arch)-without)
	for _, f := range s.fields {
		fm, ok := formats[f.format]
		if !ok {
			return "", fmt.Errorf("struct %s: no format %s", name, f.format)
		}
		at := ofArch(f.at, arch)
		size := at.size
		if size == 0 {
			size = fm.size
			if fm.word && valueArch(arch) == "386" {
				size = 4
			}
		}
		var extra string
		switch f.format {
		case "flags", "value", "handler":
			if f.what == "" {
				break
			}
			v, err := w.set(f.what, arch)
			if err != nil {
				return "", err
			}
			extra = ", Set: &" + v
		case "struct":
			v, err := w.structure(f.what, arch, 0)
			if err != nil {
				return "", err
			}
			extra = ", Struct: &" + v
			size = ofArch(w.values.structs[f.what].size, arch)
		}
		if f.format == "strp" || f.format == "pathp" {
			inner++
			extra = fmt.Sprintf(", Inner: %d", inner)
		}
		if f.show != "" {
			show := f.show
			for i, other := range s.fields {
				if rest, ok := strings.CutPrefix(show, other.name); ok && other.name != "" && rest != "" && strings.ContainsAny(rest[:1], "&=") {
					show = strconv.Itoa(i) + rest
					break
				}
			}
			c, err := parseCond(show, nil)
			if err != nil {
				return "", fmt.Errorf("struct %s: %w", name, err)
			}
			extra += ", Show: &" + c.literal("Cond")
		}
		if at.count > 0 {
			extra += fmt.Sprintf(", Count: %d", at.count)
		}
		if size == 0 && f.format != "more" && f.format != "exit" || at.offset+size*max(1, at.count) > ofArch(s.size, arch) {
			return "", fmt.Errorf("struct %s: %s does not fit", name, f.name)
		}
		fmt.Fprintf(&b, "{Name: %q, Offset: %d, Size: %d, Format: %s%s},\n", f.name, max(at.offset-without, 0), size, fm.constant, extra)
	}
	b.WriteString("}")
	variable := "struct_" + name
	if without > 0 {
		fmt.Fprintf(&b, ", From: %d", without)
		variable += "_From" + strconv.Itoa(without)
	}
	b.WriteString("}")
	return w.declare(w.structs, variable, b.String(), arch), nil
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
		word = strings.ReplaceAll(word, "%20", " ")
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
	size, at, countAt int
}

func rulesLiteral(rules []rule) string {
	var b strings.Builder
	b.WriteString("[]Rule{")
	for _, r := range rules {
		fmt.Fprintf(&b, "{%s, %d, %#x, %d, %d, %d, %d}, ", r.how, r.arg, r.count, r.flags, r.size, r.at, r.countAt)
	}
	b.WriteString("}")
	return b.String()
}

// A selector collects what chooses between the rules of a call.
type selector struct {
	arg, arg2 int
	mask      uint64
	seen      map[uint64]bool
}

// find learns from the conditions of a variant with rules of its own by which arguments
// the call is to be told.
func (s *selector) find(conds []cond) error {
	for i, c := range conds {
		if c.values == nil {
			return errors.New("what is read depends on a condition without values")
		}
		switch {
		case i == 0 && s.arg == noArg:
			s.arg, s.mask = c.arg, c.mask&0xffffffff
		case i == 0 && (s.arg != c.arg || s.mask != c.mask&0xffffffff):
			return errors.New("what is read depends on another argument first than in the forms before")
		case i == 1 && s.arg2 == noArg && c.mask&0xffffffff == 0xffffffff:
			s.arg2 = c.arg
		case i == 1 && s.arg2 != c.arg, i > 1:
			return errors.New("what is read depends on too many arguments")
		}
	}
	return nil
}

// keys are the values by which a variant is found: those that no variant before it has.
func (s *selector) keys(conds []cond) []uint64 {
	second := []uint64{0xffffffff}
	if len(conds) > 1 {
		second = conds[1].values
	}
	var keys []uint64
	for _, a := range conds[0].values {
		for _, b := range second {
			key := a&0xffffffff | b<<32
			if !s.seen[key] {
				s.seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	return keys
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
	args, err := w.args(arch, word, k, main.args, names)
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
	chosen := selector{arg: noArg, arg2: noArg, seen: map[uint64]bool{}}
	if len(d.variants) > 0 {
		type own struct {
			conds []cond
			rules []rule
		}
		forms := make([]own, len(d.variants))
		for i, v := range d.variants {
			o := &forms[i]
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
				o.conds = append(o.conds, c)
			}
			if o.rules, err = w.rules(arch, word, v.args); err != nil {
				return "", v.errorf("%w", err)
			}
			if !slices.Equal(o.rules, rules) {
				if err := chosen.find(o.conds); err != nil {
					return "", v.errorf("%w", err)
				}
			}
		}
		b.WriteString(", Variants: []Variant{\n")
		for i, v := range d.variants {
			args, err := w.args(arch, word, k, v.args, names)
			if err != nil {
				return "", v.errorf("%w", err)
			}
			ret, err := w.ret(arch, v.ret)
			if err != nil {
				return "", v.errorf("%w", err)
			}
			b.WriteString("{When: []Cond{")
			for _, c := range forms[i].conds {
				b.WriteString(strings.TrimPrefix(c.literal("Cond"), "Cond") + ", ")
			}
			b.WriteString("}, Args: " + args)
			if ret != "" {
				b.WriteString(", Ret: " + ret)
			}
			// A form with the call's own rules needs a key only where one behind it would
			// be taken for it.
			conds := forms[i].conds
			plain := slices.Equal(forms[i].rules, rules)
			selects := chosen.arg != noArg && conds[0].arg == chosen.arg && conds[0].values != nil && conds[0].mask&0xffffffff == chosen.mask &&
				(len(conds) == 1 || len(conds) == 2 && conds[1].arg == chosen.arg2 && conds[1].values != nil)
			if selects {
				if keys := chosen.keys(conds); len(keys) > 0 && (!plain || chosen.arg2 != noArg && len(conds) == 2) {
					b.WriteString(", Rules: " + rulesLiteral(forms[i].rules) + ", Keys: []uint64{")
					for _, k := range keys {
						fmt.Fprintf(&b, "%#x, ", k)
					}
					b.WriteString("}")
				}
			} else if !plain {
				return "", v.errorf("what is read depends on what the recorder cannot select by")
			}
			b.WriteString("},\n")
		}
		b.WriteString("}")
	}
	if len(rules) > 0 {
		b.WriteString(", Rules: " + rulesLiteral(rules))
	}
	if chosen.arg != noArg {
		fmt.Fprintf(&b, ", Select: &Select{%d, %#x, %#x}", chosen.arg, chosen.arg2, chosen.mask)
	}
	var flags []string
	for _, f := range main.flags {
		if !slices.Contains([]string{"life", "cred", "exec", "stack", "pair", "renames", "cwd"}, f) {
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

// wide tells that all bits of a value count. mmap takes a long for its flags, and an int
// is all that it looks at.
func wide(a arg, kind string) bool {
	switch kind {
	case "unsigned long", "long", "u64", "__u64":
		return (a.format == "flags" || a.format == "value") && a.what != "mmap"
	}
	return false
}

func (w *writer) args(arch string, word int, k kernelCall, args []arg, names func(int, string) (uint64, bool)) (string, error) {
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
		switch {
		case a.what != "" && !f.structured:
			v, err := w.set(a.what, arch)
			if err != nil {
				return "", err
			}
			b.WriteString(", Set: &" + v)
		case f.structured:
			v, err := w.structure(a.what, arch, w.skipped(a, arch))
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
		if kind := k.args[a.index].kind; word == 8 && wide(a, kind) {
			b.WriteString(", Wide: true")
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
	constants := map[string]string{"fd": "RetFD", "hex": "RetHex", "octal": "RetOctal", "none": "RetNone", "poll": "RetPoll", "select": "RetSelect", "ioprio": "RetIoprio", "persona": "RetFlags", "time": "RetTime", "entry": "RetEntry", "flags": "RetFlags", "seals": "RetFlags", "name": "RetName", "hexname": "RetHexName"}
	switch {
	case ret == "":
		return "", nil
	case constants[kind] == "":
		return "", fmt.Errorf("no result %s", ret)
	case name != "":
		v, err := w.set(name, arch)
		return fmt.Sprintf("Ret{Format: %s, Set: &%s, Label: %q}", constants[kind], v, strings.TrimPrefix(kind, "persona")), err
	}
	return fmt.Sprintf("Ret{Format: %s}", constants[kind]), nil
}

// message returns the rules for what a struct msghdr that stands at an offset points to:
// the address, the array of buffers, their bytes, and control messages.
func message(arg, word, offset, flags, when int) []rule {
	return []rule{
		{"HowBytes", arg, countInside, ruleAt | ruleCount4 | when, 1, offset, offset + word},
		{"HowBytes", arg, countInside, ruleAt | when, 2 * word, offset + 2*word, offset + 3*word},
		{"HowIovec", arg, countInside, ruleAt | flags | when, 0, offset + 2*word, offset + 3*word},
		{"HowBytes", arg, countInside, ruleAt | when, 1, offset + 4*word, offset + 5*word},
	}
}

// rules derives what is read from the formats and marks of the arguments, the rules of
// the entry first.
func (w *writer) rules(arch string, word int, args []arg) ([]rule, error) {
	var entry, exit []rule
	for _, a := range args {
		f := formats[a.format]
		if a.format == "path" || a.format == "str" || a.format == "strptr" {
			// What the kernel fills is marked for the exit.
			if a.out == "In" {
				a.entry, a.entryCount = true, countOne
			}
		}
		if !a.entry && !a.exit {
			continue
		}
		if f.how == "" {
			return nil, fmt.Errorf("%s: what a %s points to cannot be read", a.name, a.format)
		}
		size, portable := f.element, f.anyWord
		if s := w.values.structs[a.what]; s != nil {
			size, portable = ofArch(s.size, arch)-w.skipped(a, arch), s.portable
		}
		skip := w.skipped(a, arch)
		if a.format == "sized" || a.format == "sizedopt" {
			size = 1 // the argument that counts tells how much of it there is
		}
		if word == 4 && !portable {
			continue
		}
		flags := 0
		if f.data {
			flags |= ruleData
		}
		switch a.format {
		case "iovec":
			// The array itself, so that the bytes can be told apart, then the bytes.
			entry = append(entry, rule{"HowBytes", a.index, a.entryCount, 0, 2 * word, 0, 0})
			if a.exit {
				exit = append(exit, rule{f.how, a.index, a.exitCount, flags | ruleExit, 0, 0, 0})
			} else {
				entry = append(entry, rule{f.how, a.index, a.entryCount, flags, 0, 0, 0})
			}
			continue
		case "msghdr":
			to, when := &entry, 0
			if a.exit {
				// What the lengths were.
				entry = append(entry, rule{"HowBytes", a.index, countOne, 0, 7 * word, 0, 0})
				to, when = &exit, ruleExit
			}
			*to = append(*to, rule{"HowBytes", a.index, countOne, when, 7 * word, 0, 0})
			*to = append(*to, message(a.index, word, 0, flags, when)...)
			continue
		case "mmsghdr":
			if word != 8 {
				continue
			}
			// The heads, and what the first two point to. Of messages that were sent, the
			// lengths stand there only when the call returned.
			to, when, count := &entry, 0, a.entryCount
			if a.exit {
				heads := rule{"HowBytes", a.index, a.exitCount, ruleExit, size, 0, 0}
				if exit = append(exit, heads); a.exitCount == countReturn {
					to, when = &exit, ruleExit
				}
			}
			if a.entry {
				entry = append(entry, rule{"HowBytes", a.index, count, 0, size, 0, 0})
			}
			first, second := message(a.index, word, 0, flags, when), message(a.index, word, size, flags, when)
			*to = append(append(*to, first[:3]...), second[:3]...)
			for i := range *to {
				if (*to)[i].how == "HowIovec" && (*to)[i].arg == a.index {
					(*to)[i].size = 1 // the result does not count bytes
				}
			}
			continue
		case "clone3":
			// The descriptor for the new process, too.
			entry = append(entry, rule{"HowBytes", a.index, countOne, 0, size, 0, 0})
			exit = append(exit, rule{"HowBytes", a.index, countOne, ruleAt | ruleExit, 4, 8, 0})
			continue
		case "points":
			// Only the first: most programs submit one at a time.
			entry = append(entry, rule{f.how, a.index, countOne, ruleAt, size, 0, 0})
			continue
		case "handle":
			// The head says how much follows, to the reader of the record.
			for _, part := range []rule{{f.how, a.index, countOne, 0, handleHead, 0, 0}, {f.how, a.index, countOne, 0, handleMost, handleHead, 0}} {
				if a.entry && (part.at == 0 || !a.exit) {
					entry = append(entry, part)
				}
				if part.flags = ruleExit; a.exit {
					exit = append(exit, part)
				}
			}
			continue
		case "sigmaskarg":
			entry = append(entry, rule{"HowBytes", a.index, countOne, 0, size, 0, 0}, rule{"HowBytes", a.index, countOne, ruleAt, 8, 0, 0})
			continue
		}
		switch f.how {
		case "HowString", "HowStrings", "HowBits", "HowPointers", "HowPages":
			size = 0
		}
		if a.entry {
			entry = append(entry, rule{f.how, a.index, a.entryCount, flags, size, skip, 0})
		}
		if a.exit {
			exit = append(exit, rule{f.how, a.index, a.exitCount, flags | ruleExit, size, skip, 0})
		}
		if s := w.values.structs[a.what]; s != nil && a.entry {
			for _, field := range s.fields {
				if field.format == "strp" || field.format == "pathp" {
					entry = append(entry, rule{"HowString", a.index, countOne, ruleAt, 0, ofArch(field.at, arch).offset, 0})
				}
			}
		}
	}
	all := append(entry, exit...)
	if len(all) > maxRules {
		return nil, fmt.Errorf("%d captures; a record has %d", len(all), maxRules)
	}
	return all, nil
}
