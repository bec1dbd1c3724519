package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// The committed objects of all architectures have one layout, and the committed Go
// source is that layout.
func TestSourceIsThatOfObjects(t *testing.T) {
	got, err := generateAll("layout", []string{"../swoll_x86_bpfel.o", "../swoll_arm64_bpfel.o"})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../ringstore/layout/layout.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("ringstore/layout/layout.go is not up to date (-file +generated); run go generate ./bpf\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ enum, constant, want string }{
		{"swoll_kind", "SWOLL_CALL", "KindCall"},
		{"swoll_lane", "SWOLL_LANE_BOOT", "LaneBoot"},
		{"swoll_capture_status", "SWOLL_CAPTURE_CUT", "CaptureStatusCut"},
		{"swoll_capture_how", "SWOLL_HOW_STRING", "CaptureHowString"},
		{"swoll_exit_flag", "SWOLL_EXIT_OOM", "ExitFlagOOM"},
		{"swoll_flag", "SWOLL_ABI", "FlagABI"},
		{"swoll_lost", "SWOLL_LOST_NO_PAGE", "LostNoPage"},
		// The last word stays, whatever it is.
		{"swoll_lane", "SWOLL_LANE", "LaneLane"},
	} {
		if got := goName(test.enum) + camel(ownWords(test.enum, test.constant)); got != test.want {
			t.Errorf("%s of enum %s is %s, want %s", test.constant, test.enum, got, test.want)
		}
	}
}

func TestIndexNames(t *testing.T) {
	enum := func(name string, values ...btf.EnumValue) *btf.Enum {
		return &btf.Enum{Name: name, Size: 4, Values: values}
	}
	for _, test := range []struct {
		enum *btf.Enum
		want []string
	}{
		{enum("swoll_lane", btf.EnumValue{Name: "SWOLL_LANE_A", Value: 0}, btf.EnumValue{Name: "SWOLL_LANE_B", Value: 1},
			btf.EnumValue{Name: "SWOLL_LANES", Value: 2}), []string{"a", "b"}},
		{enum("swoll_lost", btf.EnumValue{Name: "SWOLL_LOST_A", Value: 0}, btf.EnumValue{Name: "SWOLL_LOST_NO_B", Value: 1},
			btf.EnumValue{Name: "SWOLL_LOST_CAUSES", Value: 8}), []string{"a", "no_b"}},
		{enum("swoll_ring_flag", btf.EnumValue{Name: "SWOLL_A", Value: 1}, btf.EnumValue{Name: "SWOLL_B", Value: 2}), nil},
		{enum("swoll_sizes", btf.EnumValue{Name: "SWOLL_A", Value: 1}, btf.EnumValue{Name: "SWOLL_B", Value: 4096}), nil},
	} {
		if diff := cmp.Diff(test.want, indexNames(test.enum)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.enum.Name, diff)
		}
	}
}

// object writes the BTF of a struct with a char array and a u64 at the given offset.
func object(t *testing.T, name string, at uint32) string {
	t.Helper()
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	index := &btf.Int{Name: "u32", Size: 4}
	word := &btf.Int{Name: "u64", Size: 8}
	builder, err := btf.NewBuilder([]btf.Type{&btf.Struct{Name: "swoll_thing", Size: at + 16, Members: []btf.Member{
		{Name: "comm", Type: &btf.Array{Index: index, Type: char, Nelems: 4}},
		{Name: "start_time", Type: word, Offset: btf.Bits(8 * at)},
		{Name: "spare", Type: word, Offset: btf.Bits(8*at + 64)},
	}}, &btf.Struct{Name: keeper, Size: 8, Members: []btf.Member{{Name: "x", Type: word}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStruct(t *testing.T) {
	got, err := generateAll("thing", []string{object(t, "a.o", 8), object(t, "b.o", 8)})
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(got), "package thing\n")
	want := `
import "structs"

// Thing is struct swoll_thing.
type Thing struct {
	_         structs.HostLayout
	Comm      [4]uint8
	_         [4]byte
	StartTime uint64
	_         uint64
}

// Size and offsets of struct swoll_thing.
const (
	SizeofThing      = 24
	ThingAtComm      = 0
	ThingAtStartTime = 8
)
`
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("generated source (-want +got):\n%s", diff)
	}
}

func TestObjectsThatDiffer(t *testing.T) {
	a, b := object(t, "a.o", 8), object(t, "b.o", 16)
	_, err := generateAll("thing", []string{a, b})
	if err == nil || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
		t.Errorf("error is %v, want one that names %s and %s", err, a, b)
	}
}
