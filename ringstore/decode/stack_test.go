package decode

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore"
)

func deadStack() *ringstore.Stack {
	again := ringstore.StackFrame{Address: 0x401010, Function: "recurse", FunctionOffset: 16, File: "/app", Offset: 0x1010, How: "cfi", Confidence: "high"}
	return &ringstore.Stack{
		PID: 7, TID: 8, End: "the stack that was taken ends here",
		Frames: []ringstore.StackFrame{
			{Address: 0x7f0000001234, File: "/lib/libc.so.6", Offset: 0x1234, BuildID: "93ac", How: "registers", Confidence: "high"},
			{Address: 0x401000, Function: "f", File: "/app", Offset: 0x1000, BuildID: "01", How: "cfi", Confidence: "high"},
			again, again, again,
			{Address: 0x402000, Function: "bad\nname", FunctionOffset: 1, File: "/app", Offset: 0x2000, How: "scan", Confidence: "low"},
			{Address: 0x10, How: "signal", Confidence: "low"},
		},
		Registers: map[string]ringstore.Address{"rip": 0x7f0000001234, "rax": 0xffffffffffffffff},
		Mappings: []ringstore.StackMapping{
			{Start: 0x7f0000000000, End: 0x7f0000002000, File: "/lib/libc.so.6", BuildID: "93ac", Unread: "another file is there now"},
			{Start: 0x401000, End: 0x403000, Offset: 0x1000, File: "/app", BuildID: "01"},
		},
		Notes: []string{"payloads are off"},
	}
}

func TestWriteStack(t *testing.T) {
	var b bytes.Buffer
	WriteStack(&b, "", deadStack(), 0)
	want := `stack of thread 8:
  #0  ? 0x7f0000001234 (/lib/libc.so.6+0x1234, build id 93ac)
  #1  f (/app+0x1000)
  #2  recurse+0x10 (/app+0x1010), 3 frames
  #5  bad name+0x1 (/app+0x2000) [low, scan]
  #6  ? 0x10 [low, signal]
  (the stack that was taken ends here)
  /lib/libc.so.6 was not read: another file is there now
  note: payloads are off
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	WriteStack(&b, "# ", deadStack(), 2)
	if got := b.String(); !strings.Contains(got, "#   #1  f (/app+0x1000)\n#   and 5 more frames\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestStackInDump: text has it below the header, JSON as its last line, and a dump of chosen
// calls has none in JSON.
func TestStackInDump(t *testing.T) {
	h := &ringstore.History{Meta: ringstore.Meta{Pod: "p", Stack: deadStack()}}
	var b bytes.Buffer
	if err := Write(&b, Text, []*ringstore.History{h}, Filter{}); err != nil || !strings.Contains(b.String(), "\n# stack of thread 8:\n#   #0  ? ") {
		t.Errorf("error %v, text\n%s", err, b.String())
	}
	b.Reset()
	if err := Write(&b, JSON, []*ringstore.History{h}, Filter{}); err != nil {
		t.Fatal(err)
	}
	var line struct {
		Event     string
		Container struct{ Pod string }
		ringstore.Stack
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	if line.Event != "stack" || line.Container.Pod != "p" || !reflect.DeepEqual(&line.Stack, deadStack()) {
		t.Errorf("read back: %+v", line)
	}
	if !strings.Contains(b.String(), `"rax":"0xffffffffffffffff"`) {
		t.Errorf("numbers are not whole: %s", b.String())
	}
	b.Reset()
	if err := Write(&b, JSON, []*ringstore.History{h}, Filter{Syscalls: []string{"read"}}); err != nil || b.Len() != 0 {
		t.Errorf("error %v, %q", err, b.String())
	}
}
