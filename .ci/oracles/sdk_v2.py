"""What seed 001 and most notebooks in the world do, by the SageMaker SDK v2, unmodified: estimator, tuner, model, endpoint, JPEG prediction, transform, delete

    python sdk_v2.py s3://bucket/photos photo.jpg        # with AWS_ENDPOINT_URL_SAGEMAKER … in the environment"""
import json, sys
from pathlib import Path

import boto3
import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.pytorch import PyTorch, PyTorchModel
from sagemaker.serializers import IdentitySerializer
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner, IntegerParameter

data, photo = sys.argv[1], Path(sys.argv[2]).read_bytes()
plain = str(Path(__file__).parent/'plain')
role = 'arn:aws:iam::000000000000:role/dogbreed'
session = sagemaker.Session(boto3.Session(), default_bucket=data.split('/')[2])
channels = {'train': f'{data}/train', 'valid': f'{data}/valid'}
metrics = [{'Name': 'valid:loss', 'Regex': r'Test set: Average loss: ([0-9.]+)'}, {'Name': 'valid:accuracy', 'Regex': r'Test set: .*Accuracy: ([0-9.]+)'}]
common = dict(entry_point='train_model.py', source_dir=plain, role=role, framework_version='2.8.0', py_version='py312',
              instance_count=1, instance_type='ml.m5.large', sagemaker_session=session, metric_definitions=metrics)

estimator = PyTorch(**common, hyperparameters={'epochs': 1, 'batch_size': 8})
estimator.fit(channels, wait=True, logs=True)
job = session.sagemaker_client.describe_training_job(TrainingJobName=estimator.latest_training_job.name)
assert job['TrainingJobStatus'] == 'Completed', job
assert {m['MetricName'] for m in job['FinalMetricDataList']} == {'valid:loss', 'valid:accuracy'}, job['FinalMetricDataList']
print('ORACLE fit', job['TrainingJobName'])

ranges = {'epochs': IntegerParameter(1, 2), 'lr': ContinuousParameter(1e-5, .1), 'dropout_rate': CategoricalParameter([.2, .5]),
          'hidden_units': CategoricalParameter([32, 64]), 'batch_size': CategoricalParameter([8, 16]), 'test_batch_size': CategoricalParameter([8, 16])}
tuner = HyperparameterTuner(PyTorch(**common), 'valid:loss', ranges, metrics, max_jobs=3, max_parallel_jobs=1, objective_type='Minimize')
tuner.fit(channels, wait=True)
frame = tuner.analytics().dataframe()
assert len(frame) == 3 and set(frame.TrainingJobStatus) == {'Completed'}, frame
best = tuner.best_training_job()
assert best == frame.sort_values('FinalObjectiveValue').TrainingJobName.iloc[0], (best, frame)
best_estimator = tuner.best_estimator()
print('ORACLE tune', best, best_estimator.hyperparameters()['lr'])

model = PyTorchModel(entry_point='inference.py', source_dir=plain, role=role, model_data=best_estimator.model_data,
                     framework_version='2.6.0', py_version='py312', sagemaker_session=session)
predictor = model.deploy(instance_type='ml.m5.large', initial_instance_count=1,
                         serializer=IdentitySerializer('image/jpeg'), deserializer=JSONDeserializer())
answer = predictor.predict(photo)
assert len(answer) == 1 and len(answer[0]) == 3, answer
print('ORACLE predict', json.dumps(answer))
assert predictor.predict(photo) == answer

transformer = model.transformer(1, 'ml.m5.large', output_path=f'{data}-out', accept='application/json')
transformer.transform(f'{data}/valid', content_type='image/jpeg', wait=True, logs=False)
bucket, key = data.removeprefix('s3://').split('/', 1)
s3 = boto3.client('s3')
keys = lambda prefix: [o['Key'] for o in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)['Contents']]
outs, ins = keys(f'{key}-out/'), keys(f'{key}/valid/')
assert sorted(k.removeprefix(f'{key}-out/') for k in outs) == sorted(k.removeprefix(f'{key}/valid/')+'.out' for k in ins), (ins, outs)
print('ORACLE transform', len(outs))

predictor.delete_endpoint()
model.delete_model()
try: session.sagemaker_client.describe_endpoint(EndpointName=predictor.endpoint_name)
except Exception as e: assert 'Could not find' in str(e), e
else:
    status = session.sagemaker_client.describe_endpoint(EndpointName=predictor.endpoint_name)['EndpointStatus']
    assert status == 'Deleting', status
print('ORACLE deleted', predictor.endpoint_name)
