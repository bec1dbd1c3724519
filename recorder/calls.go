package recorder

import (
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// callTable is the kernel side's half of the table of system calls: for each ABI, by
// number, how many arguments a call has and what to capture of them.
func callTable(arch string, dataLimit, stringLimit int) [2 * layout.SizesCalls]layout.Call {
	var table [2 * layout.SizesCalls]layout.Call
	for i := range table {
		// What is not in the table has all arguments, as strace shows it.
		table[i].Args = 6
	}
	for base, abi := range []ringstore.ABI{ringstore.ABINative, ringstore.ABI32} {
		for nr, call := range syscalls.Table(arch, abi) {
			if call != nil && nr < layout.SizesCalls-1 {
				table[base*layout.SizesCalls+nr] = callRow(call, dataLimit, stringLimit)
			}
		}
	}
	return table
}

func callRow(call *syscalls.Call, dataLimit, stringLimit int) layout.Call {
	// Calls that return twice.
	forks := call.Name == "fork" || call.Name == "vfork" || call.Name == "clone" || call.Name == "clone3"
	row := layout.Call{Args: uint8(call.NArgs), Flags: uint8(call.Flags), Rules: uint8(len(call.Rules))}
	if forks {
		row.Flags |= layout.CallFlagFork
	}
	for i, r := range call.Rules {
		row.Rule[i] = layout.CaptureRule{How: uint8(r.How), Arg: r.Arg, Count: r.Count, Flags: uint8(r.Flags), Size: r.Size}
		if r.Flags&syscalls.AtExit == 0 {
			row.Enters++
			continue
		}
		// As capture() in swoll.bpf.c bounds it.
		most := layout.SizesMaxLimit
		switch {
		case r.How == syscalls.HowSockaddr:
			most = 128
		case r.How == syscalls.HowIovec || r.How == syscalls.HowMsghdr || r.Flags&syscalls.Data != 0:
			most = dataLimit
		case r.How == syscalls.HowString:
			most = stringLimit
		case r.Count == layout.CaptureCountOne:
			most = min(most, int(r.Size))
		}
		row.Room += uint32(layout.SizesCaptureHead+most+3) &^ 3
	}
	return row
}

// routineTable marks the errors that belong to the normal course of programs.
func routineTable() [layout.SizesErrnos]uint8 {
	var table [layout.SizesErrnos]uint8
	for i := range table {
		if syscalls.Routine(i) {
			table[i] = 1
		}
	}
	return table
}
