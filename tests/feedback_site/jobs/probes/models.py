from django.db import models


class Outcome(models.Model):
    """What a job leaves behind. There must be one per job in the end, whatever happened."""

    job_id = models.BigIntegerField()
    attempt = models.IntegerField()

    def __str__(self) -> str:
        return f"outcome of job {self.job_id}"
