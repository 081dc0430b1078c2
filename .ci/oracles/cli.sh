#!/usr/bin/env bash
# The AWS CLI, unmodified, against the service that the environment names: cli.sh TRAINING_JOB ENDPOINT photo.jpg
set -euo pipefail
job=$1 endpoint=$2 photo=$3
aws sagemaker wait training-job-completed-or-stopped --training-job-name "$job"
test "$(aws sagemaker describe-training-job --training-job-name "$job" --query TrainingJobStatus --output text)" = Completed
aws sagemaker describe-training-job --training-job-name "$job" > described.json
python3 - "$job" <<'PY' > again.json
import json, sys
d = json.load(open('described.json'))
keep = 'HyperParameters AlgorithmSpecification RoleArn InputDataConfig OutputDataConfig ResourceConfig StoppingCondition'.split()
print(json.dumps({'TrainingJobName': sys.argv[1]+'-cli', **{k: d[k] for k in keep}}))
PY
aws sagemaker create-training-job --cli-input-json file://again.json --query TrainingJobArn --output text
aws sagemaker wait training-job-completed-or-stopped --training-job-name "$job-cli"
echo "ORACLE job $(aws sagemaker describe-training-job --training-job-name "$job-cli" --query TrainingJobStatus --output text)"
aws sagemaker list-training-jobs --max-items 1 --page-size 1 --query 'TrainingJobSummaries[].TrainingJobName' --output text | grep -q .
echo "ORACLE list $(aws sagemaker list-training-jobs --name-contains "$job" --query 'length(TrainingJobSummaries)' --output text)"
stream=$(aws logs describe-log-streams --log-group-name /aws/sagemaker/TrainingJobs --log-stream-name-prefix "$job-cli" --query 'logStreams[0].logStreamName' --output text)
echo "ORACLE log $(aws logs get-log-events --log-group-name /aws/sagemaker/TrainingJobs --log-stream-name "$stream" --query 'length(events)' --output text) lines"
aws sagemaker-runtime invoke-endpoint --endpoint-name "$endpoint" --content-type image/jpeg --accept application/json --body "fileb://$photo" answer.json > /dev/null
echo "ORACLE invoke $(head -c 100 answer.json)"
if aws sagemaker describe-training-job --training-job-name nobody 2> error.txt; then exit 1; fi
grep -q ValidationException error.txt && echo "ORACLE refused"
