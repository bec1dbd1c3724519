package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/swoll-recorder/swoll/client"
	"github.com/swoll-recorder/swoll/client/cluster"
)

// proxyCommand is what `kubectl swoll` runs in a pod of swoll.
func (a *app) proxyCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "proxy",
		Short:  "Connects standard input and output to the service",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			c, err := net.Dial("unix", a.socket)
			if err != nil {
				return &client.DialError{Socket: a.socket, Err: err}
			}
			return proxy(c.(*net.UnixConn), os.Stdin, a.out)
		},
	}
}

// proxy copies both ways until the service has no more to say.
func proxy(c *net.UnixConn, in io.Reader, out io.Writer) error {
	defer c.Close()
	if _, err := io.WriteString(out, cluster.Greeting); err != nil {
		return err
	}
	go func() {
		// At the end of input the service ends the connection, once it has answered.
		_, _ = io.Copy(c, in)
		_ = c.CloseWrite()
	}()
	if _, err := io.Copy(out, c); err != nil {
		return fmt.Errorf("the connection to the service: %w", err)
	}
	return nil
}

// probeCommand is what the kubelet runs in the pod.
func (a *app) probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "probe live|ready",
		Short:     "Tells by its exit status whether the service answers, or records",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []cobra.Completion{"live", "ready"},
		Hidden:    true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "live" {
				return a.client.Live(cmd.Context())
			}
			return a.client.Ready(cmd.Context())
		},
	}
}
