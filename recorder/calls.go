package recorder

import (
	"cmp"
	"slices"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// callTable is the kernel side's half of the table of system calls: for each ABI, by
// number, how many arguments a call has and what to capture of them. Behind these rows
// are those of forms of calls that need other captures, and values lists what selects
// them. The limits are those of captures.
func callTable(arch string, l *captureLimits) (table callRows, values callVariants) {
	rows, variants := 2*layout.SizesCalls, 0
	known := map[*syscalls.Call]layout.Call{} // those whose forms are in the table
	for i := range table {
		// What is not in the table has all arguments, as strace shows it.
		table[i].Args = 6
	}
	for base, abi := range []ringstore.ABI{ringstore.ABINative, ringstore.ABI32} {
		for nr, call := range syscalls.Table(arch, abi) {
			if call != nil && nr < layout.SizesCalls-1 {
				row, ok := known[call]
				if !ok {
					row = callRow(call, call.Rules, l)
					rows, variants = addVariants(call, &row, &table, &values, rows, variants, l)
					known[call] = row
				}
				table[base*layout.SizesCalls+nr] = row
			}
		}
	}
	return table, values
}

type (
	callRows     [2*layout.SizesCalls + layout.SizesVariantRows]layout.Call
	callVariants [layout.SizesVariants]layout.Variant
)

// addVariants adds the forms of a call behind the rows and values that there are, and
// returns how many there are then. That they all fit is tested.
func addVariants(call *syscalls.Call, row *layout.Call, table *callRows, values *callVariants, rows, variants int, l *captureLimits) (int, int) {
	if call.Select == nil {
		return rows, variants
	}
	row.Select, row.Select2, row.Mask = call.Select.Arg, call.Select.Arg2, call.Select.Mask
	first := variants
	for i := range call.Variants {
		v := &call.Variants[i]
		if v.Keys == nil {
			continue
		}
		table[rows] = callRow(call, v.Rules, l)
		for _, key := range v.Keys {
			values[variants] = layout.Variant{Key: key, Row: uint32(rows)}
			variants++
		}
		rows++
	}
	slices.SortFunc(values[first:variants], func(a, b layout.Variant) int { return cmp.Compare(a.Key, b.Key) })
	row.Variant, row.Variants = uint16(first), uint16(variants-first)
	return rows, variants
}

func callRow(call *syscalls.Call, rules []syscalls.Rule, l *captureLimits) layout.Call {
	// Calls that return twice.
	forks := call.Name == "fork" || call.Name == "vfork" || call.Name == "clone" || call.Name == "clone3"
	row := layout.Call{Args: uint8(call.NArgs), Flags: uint8(call.Flags &^ syscalls.Stack), Rules: uint8(len(rules)), Select: syscalls.NoArg, Select2: syscalls.NoArg}
	if forks {
		row.Flags |= layout.CallFlagFork
	}
	if call.Flags&syscalls.Stack != 0 {
		row.Select, row.Variants = layout.SizesSelectStack, 1 // none that is looked at
	}
	if call.Ret.Format == syscalls.RetFD {
		row.Flags |= layout.CallFlagOpens
	}
	for i, r := range rules {
		row.Rule[i] = layout.CaptureRule{How: uint8(r.How), Arg: r.Arg, Count: r.Count, Flags: uint8(r.Flags), Size: r.Size, At: r.At, CountAt: r.CountAt}
		if r.Flags&(syscalls.Data|layout.CaptureRuleFlagEnviron) != 0 {
			row.Rule[i].Arg |= l.number(call) << layout.SizesRuleLimit
		}
		if r.Flags&syscalls.AtExit == 0 {
			row.Enters++
			continue
		}
		// As capture() in swoll.bpf.c bounds it.
		most := layout.SizesMaxLimit
		switch {
		case r.How == syscalls.HowSockaddr:
			most = 128
		case r.How == syscalls.HowPointers || r.How == syscalls.HowEntries:
			most = layout.SizesPieceMin - layout.SizesCaptureHead // what capture() leaves for finish()
		case r.How == syscalls.HowIovec:
			// All of it: gathering keeps a number at its end.
		case r.Flags&syscalls.Data != 0:
			most = l.data
		case r.How == syscalls.HowString:
			most = l.text
		case r.Count == layout.CaptureCountOne:
			most = min(most, int(r.Size))
		}
		row.Room += uint16(layout.SizesCaptureHead+most+3) &^ 3
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
