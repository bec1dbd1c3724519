package api

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// A Version names a build, and the machine where it runs.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source
	Go       string `json:"go"`
	Platform string `json:"platform"`         // as linux/amd64
	Kernel   string `json:"kernel,omitempty"` // release of the recording kernel; of services only
	Node     string `json:"node,omitempty"`   // name of the node; of services only
}

// version is set by the linker (-X) in releases.
var version string

var build = sync.OnceValue(func() Version {
	v := Version{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
})

// BuildVersion is the version of the running program. Kernel and Node are empty.
func BuildVersion() Version { return build() }
