"""Objects of the SageMaker SDK v3 (sagemaker.core.resources), unmodified, against the service that the environment names

    python sdk_v3.py TRAINING_JOB ENDPOINT photo.jpg"""
import json, sys
from pathlib import Path

from sagemaker.core.resources import Endpoint, TrainingJob

job = TrainingJob.get(sys.argv[1])
job.wait(poll=1)
assert job.training_job_status == 'Completed', job.training_job_status
assert any(j.training_job_name == sys.argv[1] for j in TrainingJob.get_all(name_contains=sys.argv[1]))
print('ORACLE job', job.training_job_name, job.model_artifacts.s3_model_artifacts)
endpoint = Endpoint.get(sys.argv[2])
endpoint.wait_for_status('InService', poll=1)
answer = endpoint.invoke(body=Path(sys.argv[3]).read_bytes(), content_type='image/jpeg', accept='application/json')
print('ORACLE invoke', json.dumps(json.loads(answer.body.read() if hasattr(answer.body, 'read') else answer.body))[:100])
try: TrainingJob.get('nobody')
except Exception as e: print('ORACLE missing', type(e).__name__, str(e)[:100])
else: raise SystemExit('a job that does not exist was described')
