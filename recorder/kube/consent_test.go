package kube

import "testing"

func TestConsentPrecedence(t *testing.T) {
	for _, tc := range []struct {
		pod, namespace map[string]string
		want           Consent
		bad            int
	}{
		{nil, nil, Consent{}, 0},
		{nil, map[string]string{AnnotationRecord: "false"}, Consent{NoRecord: true}, 0},
		{map[string]string{AnnotationRecord: "true"}, map[string]string{AnnotationRecord: "false"}, Consent{}, 0},
		{map[string]string{AnnotationRecord: "0"}, map[string]string{AnnotationRecord: "true"}, Consent{NoRecord: true}, 0},
		{map[string]string{AnnotationPayload: "full"}, map[string]string{AnnotationPayload: "none"}, Consent{}, 0},
		{nil, map[string]string{AnnotationPayload: "none"}, Consent{NoPayload: true}, 0},
		{map[string]string{AnnotationRecord: "off", AnnotationPayload: "nothing"}, nil, Consent{NoRecord: true, NoPayload: true}, 2},
		{map[string]string{AnnotationPayload: "32"}, nil, Consent{Payload: 32}, 0},
		{map[string]string{AnnotationPayload: "32"}, map[string]string{AnnotationPayload: "none"}, Consent{Payload: 32}, 0},
		{map[string]string{AnnotationPayload: "none"}, map[string]string{AnnotationPayload: "32"}, Consent{NoPayload: true}, 0},
		{nil, map[string]string{AnnotationPayload: "8"}, Consent{Payload: 8}, 0},
		{map[string]string{AnnotationPayload: "0"}, nil, Consent{NoPayload: true}, 0},
		{map[string]string{AnnotationPayload: "100000"}, nil, Consent{Payload: 65535}, 0},
		{map[string]string{AnnotationPayload: "-1"}, map[string]string{AnnotationPayload: "32"}, Consent{NoPayload: true}, 1},
		{map[string]string{AnnotationPayload: "32B"}, nil, Consent{NoPayload: true}, 1},
		{map[string]string{AnnotationPayload: "0x20"}, nil, Consent{NoPayload: true}, 1},
		{map[string]string{AnnotationPayload: "99999999999"}, nil, Consent{NoPayload: true}, 1},
		{map[string]string{AnnotationPayload: ""}, nil, Consent{NoPayload: true}, 1},
	} {
		n := 0
		bad := func(string, string) { n++ }
		if got := readFlags(tc.pod, bad).over(readFlags(tc.namespace, bad)); got != tc.want || n != tc.bad {
			t.Errorf("pod %v, namespace %v: %+v with %d warnings, want %+v with %d", tc.pod, tc.namespace, got, n, tc.want, tc.bad)
		}
	}
}

// A pod's own annotations, without its namespace's.
func TestConsentOf(t *testing.T) {
	for _, test := range []struct {
		record, payload string
		want            Consent
	}{
		{"", "", Consent{}},
		{"true", "full", Consent{}},
		{"false", "", Consent{NoRecord: true}},
		{"", "none", Consent{NoPayload: true}},
		{"", "16", Consent{Payload: 16}},
		{"perhaps", "some", Consent{NoRecord: true, NoPayload: true}},
	} {
		a := map[string]string{"other": "x"}
		if test.record != "" {
			a[AnnotationRecord] = test.record
		}
		if test.payload != "" {
			a[AnnotationPayload] = test.payload
		}
		bad := 0
		if got := ConsentOf(a, func(string, string) { bad++ }); got != test.want || bad != 0 && test.record != "perhaps" {
			t.Errorf("%v: %+v, want %+v", a, got, test.want)
		}
	}
}
