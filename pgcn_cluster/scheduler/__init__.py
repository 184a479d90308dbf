"""Jobs go to workers, and outcomes come back: queue, driver, worker, tracker."""
