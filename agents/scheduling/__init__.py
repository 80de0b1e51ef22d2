"""Due times: computed ahead, armed as rows, claimed as they come, and decided on; with an alarm clock and a watchdog."""
