package v1alpha1

import "time"

// Defaults of the fields, as the API server sets them. A Function that did not
// pass through it, or a trigger without delivery, means the same.
const (
	DefaultTimeout          = 30 * time.Second
	DefaultScaleMin         = 0
	DefaultScaleMax         = 20
	DefaultScaleConcurrency = 10
	DefaultIdle             = time.Minute

	DefaultRetry         = 4
	DefaultBackoffPolicy = BackoffExponential
	DefaultBackoffDelay  = "PT1S"
	DefaultMaxAge        = 6 * time.Hour

	DefaultAccess = AccessReadWrite
	DefaultMissed = MissedOnce
)
