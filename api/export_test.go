package api

import "time"

// Routes are the method and path of each route.
func Routes() [][2]string {
	var all [][2]string
	for _, r := range routes {
		all = append(all, [2]string{r.method, r.path})
	}
	return all
}

// DontWait makes requests fail at once that must wait for their turn.
func (s *Server) DontWait() { s.historyWait = time.Nanosecond }
