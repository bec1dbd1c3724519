package main

import (
	"os"
	"syscall"
)

// inCgroup lets a process begin in a cgroup, so that no call of it is made elsewhere.
func inCgroup(cgroup *os.File) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
}
