"""All use of Ray: session, worker pool, nodes, autoscaler, parallel map."""
