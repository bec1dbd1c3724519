// Package syscalls is the table of the system calls: for each architecture and ABI
// the number, name and arguments of every call, how each argument is shown, and what
// the recorder reads of what it points to. The one table serves the text, the JSON and
// the eBPF program.
//
// The tables are generated: numbers, names and arguments come from the kernel's own
// description (kernel.txt), the rest from one line per call in calls.txt, which names
// sets and structures of values.txt. A call is added, or shown better, by rows there.
// Nothing that this package returns may be changed.
package syscalls

import "github.com/swoll-recorder/swoll/ringstore"

//go:generate go run ./gen

// A Call is one row of the table.
type Call struct {
	Name  string
	Class string // the broad kind: FileSystem, Process, Memory, Network, IPC, Time, Signals, Security or Kernel
	Group string // within the class: Files, Directories, Sockets, ...
	// NArgs is how many arguments the kernel takes; a record holds so many.
	NArgs int
	// Args are the arguments to show, in the order to show them in, which is strace's.
	Args []Arg
	Ret  Ret
	// Variants take the place of Args and Ret for some values of the arguments; the
	// first that holds counts.
	Variants []Variant
	// Rules say what is read, those of the entry first. There are at most 8.
	Rules []Rule
	// Select tells which arguments choose a Variant's own rules; nil where all have the
	// same rules.
	Select *Select
	Flags  CallFlags
}

// Resumes tells that the kernel makes the call by itself, to go on with one that a signal
// interrupted.
func (c *Call) Resumes() bool { return c.Name == "restart_syscall" }

// An Arg is one argument as it is shown.
type Arg struct {
	Name   string
	Index  int // which argument of the call, from 0
	Format Format
	Set    *Set    // of FormatFlags, FormatValue and others that name values
	Struct *Struct // of FormatStruct, FormatArray and FormatClone3
	// Count is the argument that says how much it points to, or CountReturn, or
	// CountOne.
	Count uint8
	Out   Out
	Named bool // the text has the name, too
	Wide  bool // of FormatFlags: all 64 bits count
	// Show says when the argument is shown at all; nil means always.
	Show *Cond
}

// Out tells whether the kernel fills what an argument points to, so that there is
// nothing to show before the call returned.
type Out uint8

// The values of Out.
const (
	In      Out = iota
	Filled      // the kernel fills it
	FillsIn     // the same; strace writes the comma before it at the return, too
)

// A Variant is another form of a call.
type Variant struct {
	When []Cond // all must hold
	Args []Arg
	Ret  Ret
	// Rules take the place of the call's. The recorder knows them by Keys, the values of
	// the arguments of Select; without Keys they are the call's own.
	Rules []Rule
	Keys  []uint64
}

// A Select tells by which arguments the recorder chooses between the rules of a call: the
// bits Mask of argument Arg, and argument Arg2 unless that is NoArg. A key has the first
// in its low 32 bits, and the second in the others, all ones being any.
type Select struct {
	Arg, Arg2 uint8
	Mask      uint32
}

// NoArg is no argument.
const NoArg = 0xff

// A Cond holds when argument Arg, masked by Mask, is one of Values; without Values,
// when it is not 0.
type Cond struct {
	Arg    int
	Mask   uint64
	Values []uint64
}

// Holds evaluates the condition. An argument that is not there counts as 0.
func (c *Cond) Holds(args []uint64) bool {
	var v uint64
	if c.Arg < len(args) {
		v = args[c.Arg] & c.Mask
	}
	if len(c.Values) == 0 {
		return v != 0
	}
	for _, w := range c.Values {
		if v == w {
			return true
		}
	}
	return false
}

// Shape returns the arguments to show and the form of the result for a call that was
// made with args.
func (c *Call) Shape(args []uint64) ([]Arg, *Ret) {
	if v := c.variant(args); v != nil {
		return v.Args, &v.Ret
	}
	return c.Args, &c.Ret
}

func (c *Call) variant(args []uint64) *Variant {
	for i := range c.Variants {
		v := &c.Variants[i]
		holds := true
		for j := range v.When {
			holds = holds && v.When[j].Holds(args)
		}
		if holds {
			return v
		}
	}
	return nil
}

// RulesFor returns what is read of a call that was made with args.
func (c *Call) RulesFor(args []uint64) []Rule {
	if v := c.variant(args); v != nil && v.Keys != nil {
		return v.Rules
	}
	return c.Rules
}

// CallFlags are properties of a call that the recorder must know; the numbers are
// those of enum swoll_call_flag.
type CallFlags uint8

// The flags.
const (
	Life CallFlags = 1 // its record belongs to the life lane when it succeeds
	Cred CallFlags = 2 // it may change the ids or the name of its task
	Exec CallFlags = 4 // memory is another's when it returns
	// Stack tells that the call has no argument: what is read lies on its stack.
	Stack CallFlags = 16
	// What the recorder tells of file descriptors, besides the one that a call returns.
	Pair    CallFlags = 32  // two are stored where an argument points
	Renames CallFlags = 64  // the one in its first argument has another name then
	Cwd     CallFlags = 128 // the working directory is another
)

// A Rule tells the recorder to read what an argument points to. It is the Go form of
// struct swoll_capture_rule, and its numbers are those of the enums there.
type Rule struct {
	How   How
	Arg   uint8
	Count uint8 // the argument that says how many elements, or CountOne or CountReturn
	Flags RuleFlags
	Size  uint16 // bytes of one element; of HowEntries, where their length stands
	// At tells where in what the argument points to reading begins or, with RuleAt, where
	// the pointer stands; and CountAt, with the count CountInside, where the count does.
	At, CountAt uint8
}

// How something is read.
type How uint8

// The ways to read.
const (
	HowString   How = 1  // up to a NUL
	HowBytes    How = 2  // Size times count bytes
	HowSockaddr How = 3  // the count argument is its length; at exit, points to it
	HowIovec    How = 4  // the bytes that count struct iovec point to
	HowPointers How = 5  // how many pointers there are before NULL, 4 bytes
	HowStrings  How = 6  // an array of strings, ended by NULL
	HowEntries  How = 7  // how many directory entries there are in count bytes, 4 bytes
	HowBits     How = 8  // count bits, in whole words of 8 bytes
	HowOption   How = 9  // as many bytes as the int that the count argument points to says
	HowPages    How = 10 // a byte for each page of count bytes
	HowMsgbuf   How = 11 // a number of Size bytes, then count bytes
)

// RuleFlags say when a rule applies.
type RuleFlags uint8

// The flags of a rule.
const (
	Data   RuleFlags = 1  // a payload: its own limit, and only with consent
	AtExit RuleFlags = 2  // read when the call returned well
	RuleAt RuleFlags = 8  // the pointer stands in what the argument points to
	Count4 RuleFlags = 16 // with CountInside: the count has 4 bytes
)

// Counts that are no argument.
const (
	CountInside = 0xfd // it stands in what the argument points to
	CountOne    = 0xfe
	CountReturn = 0xff
)

// Format is how an argument or a field is shown.
type Format uint8

// The formats. Numbers are decimal unless said otherwise.
const (
	FormatInt           Format = iota // signed, 32 bits
	FormatUint                        // 32 bits
	FormatLong                        // signed, of the ABI's size
	FormatUlong                       // of the ABI's size
	FormatHex                         // hexadecimal
	FormatPtr                         // a pointer whose target is not shown
	FormatFD                          // a file descriptor
	FormatDirFD                       // a file descriptor of a directory, or AT_FDCWD
	FormatPath                        // points to a path; shown whole
	FormatStr                         // points to a string; abbreviated
	FormatData                        // points to bytes; abbreviated
	FormatHexData                     // points to bytes that are no text
	FormatPathBuf                     // filled with a path and its NUL
	FormatLinkBuf                     // filled with a path without NUL
	FormatMode                        // permissions, octal
	FormatFileMode                    // type and permissions of a file
	FormatDev                         // a device number
	FormatOff                         // signed, 64 bits
	FormatSize                        // of the ABI's size
	FormatPID                         // a process or thread
	FormatID                          // a user or group id, -1 for none
	FormatSignal                      // a signal
	FormatFlags                       // names of a Set, or-ed
	FormatValue                       // a name of a Set
	FormatEthProto                    // a protocol in network order, a name of a Set
	FormatIoctl                       // an ioctl request, a name of a Set where known
	FormatSockaddr                    // points to a socket address
	FormatSocklen                     // points to a length that the kernel may change
	FormatSockopt                     // points to the value of a socket option
	FormatIovec                       // points to struct iovecs
	FormatMsghdr                      // points to a struct msghdr
	FormatArgv                        // points to an array of strings
	FormatStruct                      // points to (or, in a field, is) a Struct
	FormatArray                       // points to Structs
	FormatClone3                      // points to the Struct of clone3
	FormatWstatus                     // points to a wait status
	FormatPair                        // points to two descriptors
	FormatIntp                        // points to an int
	FormatErrnop                      // points to an errno
	FormatRetTID                      // points to where the kernel stores the thread id it returns
	FormatSigset                      // points to a signal set
	FormatLoHi                        // a 64-bit number in this argument (low) and the next (high)
	FormatPgoff                       // an offset in pages of 4 KiB, hexadecimal in bytes
	FormatRlim                        // a resource limit
	FormatInOut                       // points to a Struct that the kernel may change; both are shown
	FormatTimes                       // points to two timespecs of a file
	FormatUTimes                      // points to two timevals of a file
	FormatTime                        // a time in s
	FormatXint                        // hexadecimal, 32 bits
	FormatUserDesc                    // points to a segment
	FormatNamed                       // a number, and its name of a Set beside it
	FormatKeyID                       // a key, or a name of a Set
	FormatFanFD                       // a descriptor of a directory, AT_FDCWD, or none
	FormatNodes                       // points to a set of NUMA nodes
	FormatMsgbuf                      // points to a message of System V
	FormatErrStat                     // in a field: a number, or an errno if it is negative
	FormatOption                      // filled with the value of a socket option
	FormatComm                        // points to the name of a thread
	FormatSignalp                     // points to a signal
	FormatVec                         // points to struct iovecs of another process
	FormatResidency                   // points to a byte for each page of a range
	FormatTicks                       // in a field: a time in ticks of a 100th second
	FormatCPUs                        // points to a set of CPUs
	FormatFDSet                       // points to a set of descriptors
	FormatEntries                     // points to directory entries, which are counted
	FormatEnvp                        // points to an array of strings, which are counted
	FormatSiginfo                     // points to a siginfo
	FormatMmsghdr                     // points to struct mmsghdrs
	FormatSigmaskArg                  // points to a pointer to a signal set and its size
	FormatHandler                     // a signal handler
	FormatCString                     // in a field: characters up to a NUL
	FormatHexBytes                    // in a field: bytes
	FormatMore                        // in a field: there is more, which is not shown
	FormatInetAddr                    // in a field: an address of IPv4
	FormatIn6Addr                     // in a field: an address of IPv6
	FormatIfindex                     // the index of an interface
	FormatCaps                        // points to the capability sets of a task
	FormatIfreq                       // points to a struct ifreq
	FormatFutexOp                     // the operation of FUTEX_WAKE_OP
	FormatIoprio                      // a scheduling class and a priority
	FormatPtrVal                      // points to a pointer
	FormatSized                       // points to as much of a Struct as another argument says
	FormatPoints                      // points to pointers to Structs, of which the first is read
	FormatGrown                       // points to a Struct; of its fields the kernel fills those behind FormatExit
	FormatChange                      // the same, and both parts are shown apart
	FormatExit                        // in a field: what follows is the kernel's
	FormatStrPtr                      // in a field: points to a string; abbreviated
	FormatPathPtr                     // in a field: points to a path
	FormatHandle                      // points to a struct file_handle
	FormatTextData                    // points to bytes, the last of which is a NUL that is not shown
	FormatErrno                       // an error
	FormatKernelVersion               // a version of the kernel
	FormatQcmd                        // a command of quotactl, and the kind of quota
)

// A Ret is how the returned value is shown.
type Ret struct {
	Format RetFormat
	Set    *Set   // of RetFlags, RetName and RetHexName
	Label  string // of RetFlags: what the names are called
}

// RetFormat is the form of a returned value.
type RetFormat uint8

// The forms.
const (
	RetDecimal RetFormat = iota
	RetFD
	RetHex
	RetOctal
	RetNone    // the call does not return
	RetPoll    // the number of ready descriptors; the array has them
	RetFlags   // hexadecimal, and names of a Set
	RetName    // the number, and its name of a Set where it has one
	RetHexName // the same in hexadecimal
	RetSelect  // the number of ready descriptors; the sets have them
	RetIoprio  // a scheduling class and a priority
	RetTime    // a time in s
	RetEntry   // what entry a segment got
)

// A Set names numbers.
type Set struct {
	// Unknown is what strace writes beside a number that has no name here; it may be
	// empty.
	Unknown string
	Flags   bool // the names can be or-ed
	Rows    []SetRow
}

// A SetRow is one name of a Set. With a Mask, it is a value of the field that Mask
// tells; the fields come before single bits.
type SetRow struct {
	Name  string
	Value uint64
	Mask  uint64
	Kind  RowKind
}

// RowKind tells how a row is printed.
type RowKind uint8

// The kinds of rows.
const (
	RowName    RowKind = iota // the name
	RowShift                  // the field's number, shifted by Value: `N<<NAME`; nothing if it is 0
	RowOctal                  // the field in octal
	RowNothing                // nothing, where no bit is left: strace writes the `|` before bits in any case
)

// Name returns the name of a value, of which the low 32 bits count, or "".
func (s *Set) Name(v uint64) string {
	for i := range s.Rows {
		if r := &s.Rows[i]; uint32(r.Value) == uint32(v) && r.Kind == RowName {
			return r.Name
		}
	}
	return ""
}

// A Struct is the layout of something that an argument points to.
type Struct struct {
	Size   int
	Fields []Field
	// From is how many bytes before the first field are not read, and not part of Size.
	// Layout 4 read them.
	From int
}

// A Field is a part of a Struct.
type Field struct {
	Name   string
	Offset int
	Size   int // bytes: 2, 4 or 8, or those of Struct
	Format Format
	Set    *Set
	Struct *Struct
	// Count is how many of them follow each other, in brackets; 0: it is one.
	Count int
	// Inner tells which string it is that was read, of those that the structure points
	// to, from 1; 0: the field is no pointer to one.
	Inner int
	// Show says when the field is shown at all; nil means always. Its argument is the
	// field of that index.
	Show *Cond
}

// Table returns the calls of an architecture (as GOARCH names it) and ABI, by number,
// nil where there is none. It is nil for what is not known.
func Table(arch string, abi ringstore.ABI) []*Call {
	switch {
	case arch == "amd64" && abi == ringstore.ABINative:
		return tableAMD64
	case arch == "amd64" && abi == ringstore.ABI32:
		return table386
	case arch == "amd64" && abi == ringstore.ABIX32:
		return tableX32
	case arch == "arm64" && abi == ringstore.ABINative:
		return tableARM64
	}
	return nil
}

// Lookup returns a call, or nil.
func Lookup(arch string, abi ringstore.ABI, nr uint16) *Call {
	if t := Table(arch, abi); int(nr) < len(t) {
		return t[nr]
	}
	return nil
}

// ByName returns a call that a program of the architecture can make under a name,
// whatever the ABI, native first; or nil.
func ByName(arch, name string) *Call {
	for abi := ringstore.ABINative; abi <= ringstore.ABIX32; abi++ {
		for _, c := range Table(arch, abi) {
			if c != nil && c.Name == name {
				return c
			}
		}
	}
	return nil
}

// Values returns a set of values.txt by its name, for what is no argument of a call.
// It panics for a name that is not there: names are constants.
func Values(name string) *Set {
	s := setsByName[name]
	if s == nil {
		panic("syscalls: no set " + name)
	}
	return s
}

// StructLayout returns a structure of values.txt by its name, as 64-bit x86 has it. It
// panics for a name that is not there.
func StructLayout(name string) *Struct {
	s := structsByName[name]
	if s == nil {
		panic("syscalls: no struct " + name)
	}
	return s
}

// ABIName is the name of an ABI as kernel.txt and the JSON have it.
func ABIName(arch string, abi ringstore.ABI) string {
	switch {
	case arch == "amd64" && abi == ringstore.ABI32:
		return "i386"
	case arch == "amd64" && abi == ringstore.ABIX32:
		return "x32"
	case arch == "amd64":
		return "x86_64"
	case abi == ringstore.ABI32:
		return "arm"
	}
	return arch
}
