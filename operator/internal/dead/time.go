package dead

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a time as a person gives it: RFC 3339, or how long before now,
// such as 90s, 2h30m or 7d.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("%q is neither a time such as 2026-01-02T15:04:05Z nor how long ago, such as 90s, 2h30m or 7d", s)
}
